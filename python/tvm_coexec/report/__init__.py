"""What a plan does and why, as text. Nothing here imports TVM."""

from __future__ import annotations

from .report import Report

__all__ = ["Report"]
