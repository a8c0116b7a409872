"""An adaptive module: the split program and each device alone in one library.

The library is that of the split program, for which a stock executor uses nothing else. It also holds the functions of
the other variants (its module imports theirs, under other names), the weights that the split program does not have,
and in the annotations of its graph::

    "variants": [{"name": "cpu",
                  "graph": {...},                        the variant's own graph, annotated
                  "weights": {"p0": ["p3"],              its weights by the names of the library's;
                              "p1": ["p4", "cpu.p1"],    two of them: one after the other
                              "p2": ["cpu.p2"]}}, ...],
    "weight_bytes": {"variants": n, "stored": n}         of all variants together, and in the file

`tvm_coexec.create(lib, adaptive=True)` runs whichever variant is the fastest (see docs/adaptive.md).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tvm

from .graph_json import read_document
from .weights import share_weights

if TYPE_CHECKING:
    from tvm.relay.backend.executor_factory import GraphExecutorFactoryModule

logger = logging.getLogger("tvm_coexec")

# Name of the split program among the variants, and the prefix of the others' functions.
SPLIT, PREFIX = "split", "alone_"


@dataclass(frozen=True)
class WeightBytes:
    """Bytes of an adaptive module's weights.

    Attributes
    ----------
    variants : int
        Of all variants together, as if each were stored alone.
    stored : int
        In the file.
    """

    variants: int
    stored: int

    @property
    def shared(self) -> int:
        """Bytes that are not stored again."""
        return self.variants - self.stored

    def to_text(self) -> str:
        """Return a sentence for logs and consoles."""
        return (
            f"weights of the adaptive module: {self.stored / 1e6:.2f} MB, {self.shared / 1e6:.2f} MB more are shared "
            "between its variants"
        )


def pack_variants(
    factory: GraphExecutorFactoryModule, variants: Mapping[str, GraphExecutorFactoryModule]
) -> dict[str, Any]:
    """Put functions and weights of variants into the factory of the split program.

    Parameters
    ----------
    factory : GraphExecutorFactoryModule
        Gets more weights, and its library more imports. Its own graph stays as it is.
    variants : mapping of str to GraphExecutorFactoryModule
        By name, built with different ``mod_name``.

    Returns
    -------
    dict
        Annotations for the factory's graph; see above.
    """
    own = {name: value.numpy() for name, value in factory.params.items()}
    made_of, added = share_weights(own, [(n, {k: v.numpy() for k, v in f.params.items()}) for n, f in variants.items()])
    everything = sum(v.nbytes for f in variants.values() for v in (x.numpy() for x in f.params.values()))
    stored = sum(v.nbytes for v in own.values())
    size = WeightBytes(everything + stored, stored + sum(v.nbytes for v in added.values()))
    for variant in variants.values():
        factory.lib.import_module(variant.lib)
    factory.params |= {name: tvm.nd.array(value) for name, value in added.items()}
    logger.info("%s", size.to_text())
    return {
        "variants": [
            {"name": name, "graph": read_document(variant.get_graph_json()), "weights": made_of[name]}
            for name, variant in variants.items()
        ],
        "weight_bytes": {"variants": size.variants, "stored": size.stored},
    }


def weight_bytes(metadata: Mapping[str, Any]) -> WeightBytes | None:
    """Return the bytes of an adaptive module's weights from its annotations; `None` for other modules."""
    found = metadata.get("weight_bytes")
    return None if found is None else WeightBytes(found["variants"], found["stored"])


def device_types_of(metadata: Mapping[str, Any]) -> set[int]:
    """Return the DLPack device types that the variants other than the split program use."""
    found: set[int] = set()
    for variant in metadata.get("variants", ()):
        found |= set(variant["graph"]["attrs"].get("device_index", ["", []])[1])
    return found


def names_of(metadata: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of all variants of an adaptive module."""
    return [SPLIT, *(v["name"] for v in metadata.get("variants", ()))]
