"""Relay passes, in order of execution: prepare, extract, outline, split, layout, schedule_devices."""
