"""The command ``coexec``: measure devices, fit cost models, plan models and show the results."""

from .main import main

__all__ = ["main"]
