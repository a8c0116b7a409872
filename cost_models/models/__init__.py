"""Latency models of one device."""

from __future__ import annotations

from .registry import MODELS, load_model

__all__ = ["MODELS", "load_model"]
