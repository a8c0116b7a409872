"""Documentation: links and paths exist, options and flags are those of the code, guides run as written."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tvm_coexec.cli.main import main

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "runtime" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
GUIDES = ("add_an_operator", "add_a_strategy", "add_a_cost_model")
PACKAGES = (ROOT, ROOT / "python" / "tvm_coexec")


def without_code(page: Path) -> str:
    """The page's prose."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`]*`", "", text)


def command_lines(page: Path, command: str) -> list[str]:
    """Lines of shell blocks that start with a command."""
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith(command + " ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path):
    text = without_code(page)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_paths_exist(page: Path):
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:[\w-]+/)+[\w-]+\.(?:py|cc|h|json|jsonl|md))`", text):
        # runtime/README.md names files from runtime/src, and guides those of a folder that they have named
        found = any((folder / path).exists() for folder in PACKAGES) or any(ROOT.glob(f"runtime/src/{path}"))
        assert found, f"{page.name} names {path}"


def test_options_are_those_of_the_code():
    pytest.importorskip("tvm.relay")
    from tvm_coexec.core.options import options_of
    from tvm_coexec.partition_options import PartitionOptions

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme[readme.index("## Options") : readme.index("**Where costs come from.**")]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(options_of(PartitionOptions))


@pytest.mark.slow
@pytest.mark.llvm
def test_environment_variables_are_those_of_the_code():
    documented = set(re.findall(r"TVM_COEXEC_\w+", (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")))
    sources = [*(ROOT / "python").rglob("*.py"), *(ROOT / "runtime" / "src").rglob("*.cc")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    own = set(re.findall(r"(?:getenv|environ\.get|environ)[(\[]\s*\"(TVM_COEXEC_\w+)\"", text))
    own |= {f"TVM_COEXEC_OPENCL_{name}" for name in re.findall(r'variable\(api, "(\w+)"\)', text)}
    assert own and own <= documented, sorted(own - documented)
    for name in documented:  # those of Vulkan are put together as those of OpenCL are
        assert name in text or name.replace("VULKAN", "OPENCL") in own | {"TVM_COEXEC_OPENCL"}, name


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_flags_exist(page: Path):
    """Flags of `coexec` and of ``tvmc --coexec``, wherever code is quoted."""
    from tvm_coexec.cli.main import COMMANDS
    from tvm_coexec.tvmc.options import add_arguments

    text = page.read_text(encoding="utf-8")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    known = set(parser._option_string_actions)
    for flag in set(re.findall(r"--coexec(?:-[a-z]+)*", text)):
        assert flag in known or any(k.startswith(flag + "-") for k in known), f"{page.name} names {flag}"
    for line in command_lines(page, "coexec"):
        words = line.split("#")[0].split()
        command = words[1]
        assert command in COMMANDS, line
        help_text = _help(command)
        for flag in re.findall(r"--[a-z][a-z-]*", " ".join(words)):
            assert re.search(rf"{flag}\b", help_text), f"{page.name}: coexec {command} has no {flag}"


_HELP: dict[str, str] = {}


def _help(command: str) -> str:
    if command not in _HELP:
        with contextlib.redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit):
            main([command, "--help"])
        _HELP[command] = out.getvalue()
    return _HELP[command]


@pytest.mark.opencl
@pytest.mark.parametrize("guide", GUIDES)
def test_guide_runs_as_written(guide: str):
    """The Python blocks of a guide, one after the other in one process."""
    text = (ROOT / "docs" / f"{guide}.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
