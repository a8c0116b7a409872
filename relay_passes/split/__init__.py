"""Split chains into both devices' shares, and join their results."""

from __future__ import annotations

from .split_chains import SplitChains

__all__ = ["SplitChains"]
