"""Plain data that all parts share: kernel graphs, plans, errors, files. Nothing here imports TVM."""
