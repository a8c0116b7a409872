"""Lets a plain ``import tvm`` find the TVM that the set-up chose. Copied into the environment's site-packages.

A ``.pth`` file there imports this module whenever Python starts, so it does next to nothing until somebody imports tvm
and no tvm is on the path already: one that the user puts on ``PYTHONPATH`` goes first. Then it reads the file
``tvm_coexec_boot.json`` beside itself, sets defaults for the environment variables that this TVM needs, and loads
stand-ins for those CUDA libraries that it is linked against and the machine has not.
"""

import sys


class TvmFinder:
    """Finds the top-level package tvm; the last in ``sys.meta_path``."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "tvm":
            return None
        import ctypes
        import json
        import os
        from importlib.machinery import PathFinder

        with open(os.path.join(os.path.dirname(__file__), "tvm_coexec_boot.json"), encoding="utf-8") as stream:
            settings = json.load(stream)
        spec = PathFinder.find_spec("tvm", [settings["python_dir"]])
        if spec is None:
            return None
        for variable, value in settings["environment"].items():
            os.environ.setdefault(variable, value)
        for soname, stub in settings["stubs"].items():
            try:
                ctypes.CDLL(soname)  # the real one, if the machine has it
            except OSError:
                ctypes.CDLL(stub)
        return spec


if not any(getattr(finder, "__name__", "") == "TvmFinder" for finder in sys.meta_path):
    sys.meta_path.append(TvmFinder)
