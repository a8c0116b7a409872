"""The command ``coexec``: measure devices, fit cost models to them, look at both."""

from .main import main

__all__ = ["main"]
