"""Measuring kernels and shares for cost models: which ones, how they are built, and how they are timed."""
