"""Plain data that all packages share: kernel graphs, plans, errors, files. Nothing here imports TVM."""
