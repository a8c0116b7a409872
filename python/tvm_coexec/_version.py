"""The package's version: `setup.py` and `tvm_coexec.__version__` both read it here, with or without an install."""

__version__ = "0.1.0"
