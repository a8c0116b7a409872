"""Check types with mypy: ``python scripts/typecheck.py [MYPY OPTIONS]``; settings are in pyproject.toml.

The package is installed from three folders (see setup.py), but mypy supports one folder per package, so it checks a
tree of links under ``build/typecheck`` with the layout of the installed package. Messages name the real files.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1].resolve()
TREE = ROOT / "build" / "typecheck"
SOURCES = ("python/tvm_coexec", "relay_passes", "cost_models")
COMMANDS = ROOT / "python" / "tvm_coexec_commands.py"


def link_package() -> None:
    """Lay out ``tvm_coexec`` with links to its files and folders; the links of an earlier run are replaced."""
    shutil.rmtree(TREE, ignore_errors=True)
    package = TREE / "tvm_coexec"
    package.mkdir(parents=True)
    face, *mapped = (ROOT / source for source in SOURCES)
    for target in (*face.iterdir(), *mapped):
        if target.suffix == ".py" or target.name == "py.typed" or (target / "__init__.py").exists():
            (package / target.name).symlink_to(os.path.relpath(target, package))
    (TREE / COMMANDS.name).symlink_to(os.path.relpath(COMMANDS, TREE))


def restore_paths(line: str) -> str:
    """Replace the path of the link in a message by that of the source file."""
    found = re.match(r"build/typecheck/[^:]+", line)
    if found is None:
        return line
    return os.path.relpath((ROOT / found[0]).resolve(), ROOT) + line[found.end() :]


def main() -> int:
    """Run mypy on the package, and return mypy's exit status."""
    link_package()
    command = [sys.executable, "-m", "mypy", *sys.argv[1:], "-p", "tvm_coexec", "-m", COMMANDS.stem]
    environment = dict(os.environ, MYPYPATH=str(TREE.relative_to(ROOT)))
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    print("\n".join(map(restore_paths, done.stdout.splitlines())))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
