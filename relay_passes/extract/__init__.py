"""From Relay to a kernel graph: fused kernels as plain data."""

from __future__ import annotations

from .extractor import Extracted, extract, extract_with_calls

__all__ = ["Extracted", "extract", "extract_with_calls"]
