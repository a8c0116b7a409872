"""Run a co-executed module: the stock graph executor on both devices, in shared memory where the devices have it."""
