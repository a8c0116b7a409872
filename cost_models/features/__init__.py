"""What a cost model is given of a kernel: its workload, and analytic terms of it."""
