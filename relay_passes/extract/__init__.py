"""From Relay to a kernel graph: fused kernels as plain data."""

from __future__ import annotations

from .extractor import Extracted, anchor_attrs, extract, extract_with_calls

__all__ = ["Extracted", "anchor_attrs", "extract", "extract_with_calls"]
