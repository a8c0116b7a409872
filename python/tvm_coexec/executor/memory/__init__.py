"""Plan the storage of a compiled graph's tensors when two devices share one memory.

Modules in the order in which they are used:

    steps      the effect of each node on memory, by device, and the waits of the host
    sharing    tensors that are one buffer: elided copies, reshapes, concatenations written in place
    lifetimes  when a buffer's memory may be reused, under every interleaving of the two devices
    packing    buffers -> storage blocks and offsets
    storage    the storage layout: all of the above
    rewrite    the graph for the executor
    check      an independent proof that the rewritten graph has no memory hazard
    plan       the memory plan that a compiled module carries: layouts and graphs for all memory modes

Nothing here imports TVM.
"""
