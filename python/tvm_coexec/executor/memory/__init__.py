"""Where a compiled graph's tensors live when two devices use one memory.

    graph      the executor's JSON, read
    steps      what each node does to which tensors, on which device, and when the host waits for the other one
    sharing    copies that need not be, concatenations whose parts are written in place
    lifetimes  from when on memory may be used again, under every interleaving of the two devices
    storage    tensors -> buffers -> blocks of memory
    check      an independent proof that a layout is correct
    rewrite    the graph that the executor gets

Nothing here imports TVM.
"""
