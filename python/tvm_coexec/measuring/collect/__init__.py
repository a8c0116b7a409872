"""Collecting samples for a profile: ``coexec profile``."""
