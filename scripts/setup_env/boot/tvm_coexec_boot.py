"""Lets a plain ``import tvm`` find the TVM that the set-up chose. Copied into the environment's site-packages.

A ``.pth`` file there imports this module whenever Python starts, so it does almost nothing until tvm is imported and
not found on the path: a tvm on the user's ``PYTHONPATH`` has priority. Then it reads ``tvm_coexec_boot.json`` from its
own folder, sets defaults for the environment variables that this TVM needs, and loads stand-ins for CUDA libraries that
TVM is linked against and the machine lacks.
"""

import sys


class TvmFinder:
    """Finds the top-level package tvm; the last in ``sys.meta_path``."""

    @staticmethod
    def find_spec(name, path=None, target=None):  # noqa: ARG004 - the signature that importlib calls
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
