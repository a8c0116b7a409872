"""Both shares of every chain written out, and their join."""

from __future__ import annotations

from .split_chains import SplitChains

__all__ = ["SplitChains"]
