"""Helpers for tests and benchmarks; nothing in here is needed to compile or run a model."""
