"""Running a co-executed module: the stock graph executor on both devices, with shared memory where there is any."""
