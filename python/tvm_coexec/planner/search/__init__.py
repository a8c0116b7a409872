"""The search for the best chains: dynamic programming over blocks of the kernel graph."""
