"""Energy of a run, by the machine's own gauges: ``coexec profile --energy``.

`board_files` reads files here or on an RPC server, `gauges` finds a gauge among them, `rapl` and `battery` are the
gauges, and `meter` integrates one while something runs.
"""
