"""Which room may import which: arrows point down only, and what needs no TVM imports without one."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FACE = "tvm_coexec"

# Each room with the rooms that it may import. A room imports only rooms above it in this table.
ALLOWED: dict[str, set[str]] = {
    "_version": set(),
    "core": set(),
    "hooks": {"core"},
    "cost_models": {"core"},
    "pass_context": {"core"},
    "relay_passes": {"core", "pass_context"},
    "planner": {"core", "cost_models"},
    "report": {"core", "cost_models", "planner"},
    "drawing": {"core", "cost_models", "planner"},
    "frontend": {"core"},
    "testbed": {"core"},
    "models": {"core"},
    "opencl": {"core", "hooks"},
    "llvm": {"core", "opencl"},
    "vulkan": {"core", "hooks", "opencl", "relay_passes"},
    "gpu_runtimes": {"core", "opencl", "vulkan"},
    "remote": {"_version", "core", "opencl"},
    "targets": {"core", "opencl"},
    "executor": {"core", "gpu_runtimes", "opencl", "pass_context", "remote", "report"},
    "tracing": {"core", "drawing", "executor", "gpu_runtimes", "opencl", "remote"},
    "measuring": {
        *("gpu_runtimes", "vulkan"),
        *("core", "cost_models", "executor", "frontend", "llvm", "models", "opencl", "pass_context", "planner"),
        *("relay_passes", "remote", "targets", "testbed", "tracing"),
    },
    "tuning": {
        *("core", "cost_models", "drawing", "measuring", "opencl", "pass_context", "planner", "relay_passes", "remote"),
        *("report", "targets"),
    },
    "partition_options": {"core", "cost_models", "measuring", "planner"},
    "partition": {
        *("core", "cost_models", "measuring", "partition_options", "planner", "relay_passes", "report", "targets"),
        *("gpu_runtimes", "tuning"),
    },
    "whole": {"core", "relay_passes", "targets"},
    "build": {"core", "executor", "partition", "pass_context", "targets", "tuning", "whole"},
    "two_machines": {"core", "pass_context", "relay_passes", "remote"},
    FACE: {"_version", "build", "core", "executor", "hooks", "partition", "report", "tuning"},
    "rpc_server": {"hooks", FACE},
    "tvmc": {
        *("core", "cost_models", "executor", "frontend", "measuring", "opencl", "partition", "partition_options"),
        *("pass_context", "remote", "report", "targets", "tracing", "tuning", "whole", FACE, "gpu_runtimes"),
    },
    "cli": {
        *("core", "cost_models", "drawing", "executor", "frontend", "measuring", "models", "partition"),
        *("pass_context", "planner", "remote", "report", "targets", "testbed", "tracing", "tuning", "two_machines"),
        FACE,
    },
}
# Rooms that never import TVM, not even inside a function.
WITHOUT_TVM = ("core", "cost_models", "planner", "report", "drawing", "testbed", "models", "executor/memory")


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the package by its dotted name."""
    folders = {FACE: ROOT / "python" / FACE, f"{FACE}.relay_passes": ROOT / "relay_passes"}
    folders[f"{FACE}.cost_models"] = ROOT / "cost_models"
    for package, folder in folders.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join([package, *(p for p in parts if p != "__init__")]), path


def imports(name: str, path: Path) -> Iterator[str]:
    """Dotted names that a module imports, wherever in the file."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            # `from . import x` names a module
            yield from (f"{source}.{alias.name}" if source == FACE else source for alias in node.names)


def room_of(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ALLOWED else FACE


@pytest.mark.slow
def test_rooms_import_only_what_the_table_allows():
    wrong = [
        f"{name} imports {target}: add it to the table only if the arrow points down"
        for name, path in modules()
        for target in imports(name, path)
        if target.split(".")[0] == FACE
        and room_of(target) != room_of(name)
        and room_of(target) not in ALLOWED[room_of(name)]
    ]
    assert not wrong, "\n".join(wrong)


def test_the_table_is_of_the_rooms_that_there_are_and_points_down():
    order = list(ALLOWED)
    assert {room_of(name) for name, _ in modules()} == set(order)
    for room, allowed in ALLOWED.items():
        assert allowed <= set(order[: order.index(room)]), room


@pytest.mark.parametrize("room", WITHOUT_TVM)
def test_room_without_tvm(room):
    inside = f"{FACE}.{room.replace('/', '.')}"
    found = [n for n, p in modules() if n.startswith(inside) for t in imports(n, p) if t.split(".")[0] == "tvm"]
    assert not found


BLOCKED = """
import sys
sys.modules["tvm"] = None  # what `import tvm` finds where there is none
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", BLOCKED + code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_plan_a_graph_without_tvm(tmp_path):
    code = f"""
import tvm_coexec
from tests.planner.graphs import costs, residual
from tvm_coexec.drawing import draw_plan, write_html
from tvm_coexec.planner import make_plan
graph = residual()
plan = make_plan(graph, costs(), min_gain=0.0)
report = tvm_coexec.Report(graph, plan, costs=costs())
write_html(draw_plan(graph, plan, costs(), "residual"), {str(tmp_path / "plan.html")!r}, report.to_text())
print(len(plan.chains), tvm_coexec.Plan.from_json(plan.to_json()).to_json() == plan.to_json())
import tvm_coexec.cost_models, tvm_coexec.executor.memory
"""
    assert run(code).split() == ["4", "True"]
    assert "residual" in (tmp_path / "plan.html").read_text()


@pytest.mark.parametrize("name", ["build", "create", "CoExecPartition", "targets"])
def test_names_that_need_tvm_say_so(name):
    code = f"""
import tvm_coexec
try:
    tvm_coexec.{name}
except ImportError as err:
    print(err)
"""
    text = run(code)
    assert text.count("\n") == 1
    assert f"tvm_coexec.{name} needs a TVM that has Relay" in text and "make setup" in text
