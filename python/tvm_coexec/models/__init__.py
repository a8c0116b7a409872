"""Networks for tests and benchmarks; nothing here is needed to compile or run a model."""
