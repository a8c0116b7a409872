"""Relay passes, in the order in which a model goes through them: prepare, extract, annotate, split, layout, place."""
