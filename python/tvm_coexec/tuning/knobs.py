"""Knobs of a configuration for other extents: what each may become, and configurations made of them.

Factors of a split are taken from the template's own space, which has what the template accepts. A few templates guard
partial tiles along some axes; there a tile that leaves a remainder is kept, too, or made even.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from math import log2, prod
from typing import Any

from tvm.autotvm.task.space import ConfigEntity, ConfigSpace, OtherOptionEntity, OtherOptionSpace, SplitEntity

from tvm_coexec.opencl.schedules.tiles import ceil_div, even_tile

MOST_CHANGES = 3  # alternatives of one knob
# Knobs whose tiles the template guards where they do not divide the extent.
_GUARDED = {
    "conv2d_nchw.cuda": ("tile_f", "tile_y", "tile_x"),
    "group_conv2d_nchw.cuda": ("tile_y", "tile_x"),
    "depthwise_conv2d_nchw.cuda": ("tile_f", "tile_y", "tile_x"),
    "conv3d_ncdhw.cuda": ("tile_d", "tile_y", "tile_x"),
    "batch_matmul.cuda": ("tile_y", "tile_x"),
    "dense_large_batch.gpu": ("tile_x", "tile_y"),
}
# The template copies to local memory correctly only with as many work-items along rows as the record has.
_KEPT_THREADS = ("dense_large_batch.gpu",)
# Templates take any value; this package's schedules have others than those of the space.
_FREE = "auto_unroll_max_step"
# The template's double buffering needs two blocks of the reduction.
_LEAST_BLOCKS = {("dense_large_batch.gpu", "tile_k"): 2}


@dataclass(frozen=True)
class Change:
    """One alternative of a knob.

    Attributes
    ----------
    entity : SplitEntity, OtherOptionEntity...
    distance : float
        By how many powers of two its factors differ from the record's, in total.
    waste : float
        Elements that its tiles cover over those that there are; 1 without a remainder.
    """

    entity: Any
    distance: float = 0.0
    waste: float = 1.0


def is_guarded(template: str, knob: str) -> bool:
    """Return whether a template guards tiles of this knob that do not divide its extent."""
    return knob in _GUARDED.get(template, ())


def extent_of(template: str, knob: str, space: ConfigSpace, groups: int) -> int:
    """Return the extent that the factors of a split must divide.

    TVM's grouped template for CPUs splits the channels of all groups, and drops some if its blocks do not divide those
    of one group.
    """
    extent = space.space_map[knob].product
    return extent // groups if template == "group_conv2d_nchw.x86" and knob in ("tile_ic", "tile_oc") else extent


def change_knob(
    template: str, knob: str, entity: Any, space: ConfigSpace, block: int | None = None, groups: int = 1
) -> list[Change]:
    """Return what a recorded knob may become in the space of another workload, the nearest first.

    Parameters
    ----------
    template, knob : str
    entity : SplitEntity, OtherOptionEntity...
        As recorded.
    space : ConfigSpace
        Of the other workload.
    block : int, optional
        The innermost factor, where a packed layout has it.
    groups : int
        Of a grouped convolution.
    """
    if isinstance(entity, SplitEntity):
        return _change_split(template, knob, entity, space, block, groups)
    options = space.space_map[knob].entities
    if knob == _FREE:
        return [Change(OtherOptionEntity(entity.val))]
    if isinstance(space.space_map[knob], OtherOptionSpace):
        return [Change(_nearest_option(entity.val, [o.val for o in options]))]
    same = [o for o in options if repr(o) == repr(entity)]
    return [Change(same[0] if same else options[0])]


def all_changes(
    template: str, knob: str, entity: Any, space: ConfigSpace, block: int | None = None, groups: int = 1
) -> list[Change]:
    """Return everything that a knob may become, whether its extent changed or not; as `change_knob` otherwise.

    Splits are of one inner factor, for which the space has few values.
    """
    choices = space.space_map[knob]
    if not isinstance(entity, SplitEntity):
        return [Change(o, float(repr(o) != repr(entity))) for o in choices.entities]
    extent, recorded = extent_of(template, knob, space, groups), tuple(int(f) for f in entity.size[1:])
    found = [e for e in choices.entities if block is None or e.size[-1] == block]
    found = [e for e in found if extent == choices.product or extent % prod(e.size[1:]) == 0]
    return [
        Change(SplitEntity([-1, *e.size[1:]]), _distance(recorded, e.size[1:]), ceil_div(extent, n) * n / extent)
        for e in found
        for n in (prod(e.size[1:]),)
    ]


def _nearest_option(value: Any, options: Sequence[Any]) -> OtherOptionEntity:
    """Keep a value, or take the nearest of those that the space has."""
    if value in options or not all(isinstance(o, (int, float)) for o in (value, *options)):
        return OtherOptionEntity(value if value in options else options[0])
    return OtherOptionEntity(min(options, key=lambda o: (abs(o - value), o)))


def _change_split(
    template: str, knob: str, entity: SplitEntity, space: ConfigSpace, block: int | None, groups: int
) -> list[Change]:
    extent, inner = extent_of(template, knob, space, groups), tuple(int(f) for f in entity.size[1:])
    guarded, choices = is_guarded(template, knob), space.space_map[knob]
    has_tails = extent == choices.product  # what the space has is then accepted, with a remainder or without
    found: dict[tuple[int, ...], Change] = {}

    def add(factors: tuple[int, ...]) -> None:
        if block is None or factors[-1] == block:
            padded = ceil_div(extent, prod(factors)) * prod(factors)
            found.setdefault(factors, Change(SplitEntity([-1, *factors]), _distance(inner, factors), padded / extent))

    accepted = [tuple(e.size[1:]) for e in choices.entities]
    accepted = [f for f in accepted if has_tails or extent % prod(f) == 0]
    if least := _LEAST_BLOCKS.get((template, knob)):
        accepted = [f for f in accepted if extent // prod(f) >= least]
    elif inner in accepted or extent % prod(inner) == 0 or (guarded and prod(inner) <= extent):
        add(inner)
        if extent % prod(inner) == 0 and found:
            return list(found.values())
    if guarded:
        add(_evened(inner, extent))
    if template in _KEPT_THREADS and len(inner) == 3:
        add(inner)
        accepted = [f for f in accepted if f[1] == inner[1]]
    accepted = [f for f in accepted if block is None or f[-1] == block]
    for factors in sorted(accepted, key=lambda f: (_distance(inner, f), prod(f) > prod(inner), f))[:MOST_CHANGES]:
        add(factors)
    if smaller := [f for f in accepted if _is_within(f, inner)]:
        add(min(smaller, key=lambda f: (_distance(inner, f), f)))  # fits where the record fitted
    return sorted(found.values(), key=lambda c: (c.distance + log2(c.waste), c.entity.size))


def _is_within(factors: Sequence[int], limits: Sequence[int]) -> bool:
    return all(f <= limit for f, limit in zip(factors, limits, strict=True))


def _distance(a: Sequence[int], b: Sequence[int]) -> float:
    return sum(abs(log2(x / y)) for x, y in zip(a, b, strict=True))


def _evened(inner: tuple[int, ...], extent: int) -> tuple[int, ...]:
    """Shrink the largest factor so that the tiles cover the extent evenly."""
    at = max(range(len(inner)), key=lambda i: (inner[i], i))
    others = prod(inner) // inner[at]
    if others > extent:  # even alone they are too many
        return tuple(min(f, extent) if i == at else 1 for i, f in enumerate(inner))
    factor = ceil_div(even_tile(extent, prod(inner)), others)
    return tuple(factor if i == at else f for i, f in enumerate(inner))


def make_config(space: ConfigSpace, knobs: OrderedDict[str, Any], code_hash: str | None) -> ConfigEntity:
    """Make a configuration; its index is that in the space, or -1 if the space does not have it."""
    return ConfigEntity(_index(space, knobs), code_hash, OrderedDict(knobs), [])


def _index(space: ConfigSpace, knobs: OrderedDict[str, Any]) -> int:
    index, stride = 0, 1
    for name, choices in space.space_map.items():
        texts = [repr(e) for e in choices.entities]
        text = repr(knobs[name])
        if text not in texts:
            return -1
        index += stride * texts.index(text)
        stride *= len(texts)
    return index


def threads_of(knobs: OrderedDict[str, Any]) -> int:
    """Return the work-items of a work-group: the third of four factors, or the second of three along two axes."""
    splits = {name: e.size for name, e in knobs.items() if isinstance(e, SplitEntity)}
    four = [s[2] for s in splits.values() if len(s) == 4]
    three = [s[1] for name, s in splits.items() if len(s) == 3 and re.fullmatch(r"tile_[xy]", name)]
    return prod(four or three)


def virtual_threads_of(knobs: OrderedDict[str, Any]) -> int:
    """Return the largest number of virtual threads along one axis."""
    return max([e.size[1] for e in knobs.values() if isinstance(e, SplitEntity) and len(e.size) == 4], default=1)
