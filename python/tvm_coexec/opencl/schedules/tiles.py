"""Divisors, tile sizes and AutoTVM configurations."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from math import prod

from tvm.autotvm.task.space import ConfigEntity, OtherOptionEntity, SplitEntity

# AutoTVM compares costs in seconds to choose between implementations. Estimated costs are far above any measured time,
# so that a tuned implementation is always preferred.
PRIOR_COST = 1e6
CODE_HASH = "tvm_coexec"  # of this package's configurations; AutoTVM's are of a template's code


def ceil_div(a: int, b: int) -> int:
    """Return the quotient, rounded up."""
    return -(-a // b)


@lru_cache(maxsize=4096)
def divisors(n: int) -> tuple[int, ...]:
    """Return all divisors in ascending order."""
    small = [d for d in range(1, int(n**0.5) + 1) if n % d == 0]
    return tuple(small + [n // d for d in reversed(small) if d * d != n])


def largest_divisor(n: int, limit: int) -> int:
    """Return the largest divisor of `n` that is at most `limit` (1 if `limit` is smaller)."""
    return max((d for d in divisors(n) if d <= limit), default=1)


def even_tile(extent: int, limit: int) -> int:
    """Return the tile of at most `limit` that covers `extent` with the fewest, then the most even pieces."""
    return ceil_div(extent, ceil_div(extent, max(1, limit)))


def config(cost: float = 0.0, **knobs: int | Sequence[int]) -> ConfigEntity:
    """Return a configuration that AutoTVM's templates accept like a tuned one.

    Parameters
    ----------
    cost : float
        Estimated seconds, or any unit that is the same for all implementations of an operator.
    **knobs : int or sequence of int
        For a split the inner extents (the outermost one follows from them), for an option its value.

    Returns
    -------
    ConfigEntity
    """
    entities = OrderedDict(
        (name, OtherOptionEntity(value) if isinstance(value, int) else SplitEntity([-1, *value]))
        for name, value in knobs.items()
    )
    entity = ConfigEntity(0, CODE_HASH, entities, [])
    entity.cost = PRIOR_COST + cost
    return entity


def work_items(entity: ConfigEntity) -> int:
    """Return the number of work-items per work-group of a configuration with four-way splits."""
    splits = [e.size for e in entity._entity_map.values() if isinstance(e, SplitEntity) and len(e.size) == 4]
    return prod(size[2] for size in splits)
