"""How the split rules are shown to be right: a module next to its splits, evaluated in numpy and built for the CPU."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule

from tests.relay_passes.rules.evaluate import NotKnown, evaluate
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import KernelGraph, SplitAxis
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.relay_passes.extract.extractor import Extracted, extract_with_calls
from tvm_coexec.relay_passes.inline import inline_functions
from tvm_coexec.relay_passes.outline import OutlineSegments
from tvm_coexec.relay_passes.prepare import Prepare
from tvm_coexec.relay_passes.split import SplitChains

logger = logging.getLogger("tests.splits")

# Results are compared, not timed: optimisers would only cost time.
TARGET = "llvm -opt-level=0"
CONTEXT = {
    "opt_level": 2,
    "disabled_pass": ["SimplifyExpr", "SimplifyExprPostAlterOp", "tir.HoistIfThenElse"],
    "config": {"tir.disable_vectorize": True, "tir.disable_cse_tir": True},
}


@dataclass
class Seen:
    """What a check did: axes with their cuts, and the axes that the chain as a whole refuses, with the reason."""

    graph: KernelGraph
    cuts: dict[str, list[int]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def axes(self) -> set[str]:
        return set(self.cuts)


def some_cuts(axis: SplitAxis) -> list[int]:
    """First, middle and last possible cut, the last aligned one, and one that no tile likes."""
    g, n = axis.granule, axis.extent
    step = axis.align if axis.align % g == 0 else g
    wanted = {g, n // (2 * g) * g, (n - 1) // g * g, (n - 1) // step * step, n // (3 * g) * g}
    return sorted(c for c in wanted if 0 < c < n)


def split_at(prepared, graph: KernelGraph | Extracted, members: Sequence[int], axis: str, cut: int):
    """The prepared module with one chain divided and all other kernels on the CPU."""
    extracted = graph if isinstance(graph, Extracted) else None
    graph = extracted.graph if extracted else graph
    rest_before = tuple(range(members[0]))
    others = tuple(k for k in range(members[0], len(graph.kernels)) if k not in members)
    segments = [Segment("cpu", rest_before)] if rest_before else []
    early = tuple(k for k in others if k < members[-1])
    late = tuple(k for k in others if k > members[-1])
    segments += [Segment("cpu", early)] if early else []
    segments.append(Segment("split", tuple(members), axis, cut))
    segments += [Segment("cpu", late)] if late else []
    plan = Plan(graph.fingerprint(), tuple(segments))
    return SplitChains()(OutlineSegments(plan, extracted)(prepared))


def random_inputs(params: Iterable, seed: int = 0) -> dict[str, np.ndarray]:
    """Normal floats, small integers, coin-flip booleans."""
    rng = np.random.default_rng(seed)
    out = {}
    for p in params:
        shape, dtype = [int(d) for d in p.checked_type.shape], str(p.checked_type.dtype)
        if dtype.startswith("float"):
            value = rng.standard_normal(shape)
        elif dtype == "bool":
            value = rng.integers(0, 2, shape)
        else:
            value = rng.integers(0 if dtype.startswith("u") else -9, 10, shape)
        out[p.name_hint] = np.asarray(value).astype(dtype)
    return out


def run_all(prepared, variants: Sequence, inputs: dict[str, np.ndarray]) -> list[list[np.ndarray]]:
    """Results of the prepared module and of each variant (an inlined module), from one build."""
    main = prepared["main"]
    fields, sizes = [], []
    for mod in [prepared, *variants]:
        body = relay.bind(mod["main"].body, dict(zip(mod["main"].params, main.params, strict=True)))
        ty = mod["main"].body.checked_type
        if isinstance(ty, tvm.ir.TupleType):
            parts = body.fields if isinstance(body, relay.Tuple) else None
            parts = parts or [relay.TupleGetItem(body, i) for i in range(len(ty.fields))]
        else:
            parts = [body]
        fields += list(parts)
        sizes.append(len(parts))
    whole = tvm.IRModule.from_expr(relay.Function(main.params, relay.Tuple(fields)))
    with tvm.transform.PassContext(**CONTEXT):
        lib = relay.build(whole, target=TARGET)
    module = GraphModule(lib["default"](tvm.cpu()))
    module.set_input(**inputs)
    module.run()
    values = iter([module.get_output(i).numpy() for i in range(len(fields))])
    return [[next(values) for _ in range(n)] for n in sizes]


def assert_close(got: list[np.ndarray], want: list[np.ndarray], label: str, tolerance: float) -> None:
    """As `assert_same`, but floats of one width may stand for another's."""
    widened = [g.astype("float64") if g.dtype.kind == "f" else g for g in got]
    assert_same(widened, [w.astype("float64") if w.dtype.kind == "f" else w for w in want], label, tolerance)


def assert_same(got: list[np.ndarray], want: list[np.ndarray], label: str, tolerance: float) -> None:
    """Equal types and shapes; numbers equal to `tolerance` of the largest one (integers exactly)."""
    assert len(got) == len(want), label
    for g, w in zip(got, want, strict=True):
        assert (g.dtype, g.shape) == (w.dtype, w.shape), f"{label}: {g.dtype}{g.shape}, not {w.dtype}{w.shape}"
        assert np.isfinite(w.astype("float64")).all(), f"{label}: the unsplit result is not finite, it proves nothing"
        if not np.issubdtype(w.dtype, np.floating):
            np.testing.assert_array_equal(g, w, err_msg=label)
            continue
        huge = np.abs(w) > 1e30  # maxima over nothing
        np.testing.assert_array_equal(g[huge], w[huge], err_msg=label)
        g, w = np.where(huge, 0, g).astype("float64"), np.where(huge, 0, w).astype("float64")
        error = float(np.abs(g - w).max()) / (float(np.abs(w).max()) or 1.0)
        assert error <= tolerance, f"{label}: relative error {error:.3g}"


class Splits:
    """Checks that splits compute what the module computes, and remembers which operators were in them."""

    def __init__(self):
        self.tried: set[str] = set()
        self.extracted = Extracted(KernelGraph((), (), ()))

    def prepare(self, value, params: Sequence | None = None):
        """A prepared module from an expression (or a module) and its kernel graph."""
        mod = value
        if not isinstance(value, tvm.IRModule):
            mod = tvm.IRModule.from_expr(relay.Function(params or relay.analysis.free_vars(value), value))
        prepared = Prepare()(mod)
        self.extracted = extract_with_calls(prepared)
        return prepared, self.extracted.graph

    def check(
        self,
        value,
        axes: Iterable[str] | None = None,
        members: Sequence[int] | None = None,
        cuts=some_cuts,
        inputs: dict[str, np.ndarray] | None = None,
        tolerance: float = 1e-5,
        expect: Iterable[str] | None = None,
        build: str = "any",
    ) -> Seen:
        """Split along every axis that the last kernel offers (or `axes`), compare, and say what was tried.

        `members` is the chain, by default all kernels. `expect` are the axes that must have been tried; the reduction
        is tried wherever there is one, and need not be named. Every split is
        evaluated in numpy; `build` says which are also compiled: ``any`` one of them, ``all``, or ``none``.
        """
        prepared, graph = self.prepare(value)
        assert graph.kernels, graph.reason
        members = list(range(len(graph.kernels))) if members is None else list(members)
        last = graph.kernels[members[-1]]
        seen = Seen(graph)
        if not last.axes:
            seen.refused["*"] = last.reason
        made: dict[str, list[tuple[str, tvm.IRModule]]] = {}
        for axis in last.axes:
            if axes is not None and axis.name not in axes:
                continue
            for cut in cuts(axis):
                try:
                    split = split_at(prepared, self.extracted, members, axis.name, cut)
                except CoExecError as err:
                    seen.refused[axis.name] = str(err)
                    break
                seen.cuts.setdefault(axis.name, []).append(cut)
                label = f"{last.name} split along {axis.name} at {cut} of {axis.extent}"
                made.setdefault(axis.name, []).append((label, inline_functions(split)))
        if made:
            self.tried.update(name for k in members for name in graph.kernels[k].name.split("+"))
        if expect is not None:
            assert seen.axes | {"ic"} == {*expect, "ic"}, f"axes {sorted(seen.axes)}, refused {seen.refused}"
            assert "ic" in seen.axes or "ic" not in expect, f"axes {sorted(seen.axes)}, refused {seen.refused}"
        inputs = inputs or random_inputs(prepared["main"].params)
        every = [pair for pairs in made.values() for pair in pairs]
        try:
            want = evaluate(prepared["main"], inputs)
            for label, mod in every:
                assert_same(evaluate(mod["main"], inputs), want, label, 1e-9)
        except NotKnown as unknown:
            # What numpy can't say, all of TVM's builds must.
            logger.info("built instead of evaluated: %s", unknown)
            want, build = None, "all"
        if build == "all" or os.environ.get("TVM_COEXEC_BUILD_ALL_SPLITS"):
            chosen = every
        else:
            chosen = [pairs[len(pairs) // 2] for pairs in made.values()] if build == "any" else []
            chosen = [chosen[len(every) % len(chosen)]] if chosen else []
        if chosen:
            results = run_all(prepared, [mod for _, mod in chosen], inputs)
            if want is not None:
                assert_close(results[0], want, "numpy's idea of the module", max(tolerance, 1e-4))
            for (label, _), got in zip(chosen, results[1:], strict=True):
                assert_same(got, results[0], f"{label} (built)", tolerance)
        return seen
