"""Collect the dataset of a profile: ``coexec profile``."""
