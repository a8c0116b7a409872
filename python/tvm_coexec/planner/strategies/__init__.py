"""Ways to plan, with one interface: ``strategy(graph, costs, options)`` gives segments and reasons."""

from __future__ import annotations

from ..options import STRATEGY_NAMES
from .codl import codl
from .coexec import coexec
from .exhaustive import exhaustive
from .layerwise import layerwise
from .mulayer import mulayer
from .neurosurgeon import neurosurgeon
from .ratio import fixed_plan
from .single import single

__all__ = ["STRATEGIES", "fixed_plan"]

_FUNCTIONS = (coexec, codl, mulayer, layerwise, neurosurgeon, single, exhaustive)
STRATEGIES = dict(zip(STRATEGY_NAMES, _FUNCTIONS, strict=True))
