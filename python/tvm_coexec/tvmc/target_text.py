"""``--target``: which of its parts is the CPU and which the GPU, and the errors if one is missing.

tvmc reads "opencl, llvm" as a target and its host. A co-executed build needs this order; so a text in
any order is rearranged, and TVM's own functions parse the result.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
from collections.abc import Mapping
from types import MappingProxyType

import tvm
from tvm.driver.tvmc.target import is_inline_json, parse_target, reconstruct_target_args, target_from_cli
from tvm.target import Target

from tvm_coexec.core.errors import CoExecError, one_line
from tvm_coexec.targets import CPU_TYPES

logger = logging.getLogger("tvm_coexec")

CODEGEN = "coexec"  # name of the target part that requests co-execution
DEFAULT_CPU = "llvm"
DEFAULT_GPU = "opencl"


def codegen_options(text: str | None) -> dict[str, object] | None:
    """The options of a part ``coexec`` in ``--target``; `None` if there is no such part."""
    if not _is_plain(text):
        return None
    assert text is not None
    try:
        return next((t["opts"] for t in parse_target(text) if t["name"] == CODEGEN), None)
    except (ValueError, IndexError):  # TVM reports the error later
        return None


def arrange(text: str | None, options: Mapping[str, object] = MappingProxyType({})) -> str:
    """``--target`` as TVM must see it: other code generators, then the GPU, then the CPU.

    Parameters
    ----------
    text : str or None
        The text that the user gave.
    options : mapping
        Values of ``--target-llvm-mcpu`` and similar flags, by target.

    Raises
    ------
    CoExecError
        If a part isn't a target, or if there is more than one CPU or GPU. A missing one gets a default, with a warning.
    """
    text = text or ""
    try:
        parts = parse_target(text) if text.strip() else []
    except (ValueError, IndexError) as err:
        problem = f"--target '{text}' can't be parsed ({one_line(err)}); write it like 'llvm -mcpu=..., opencl'"
        raise CoExecError(problem) from None
    others: list[str] = []
    cpus: list[dict] = []
    gpus: list[dict] = []
    for part in parts:
        if part["name"] == CODEGEN:
            continue
        if not part["is_tvm_target"]:
            if not _is_codegen(part["name"]):
                raise CoExecError(
                    f"--target '{text}': '{part['name']}' is not a target of this TVM; use a CPU target such as llvm "
                    "and a GPU target such as opencl, vulkan, cuda or metal"
                )
            others.append(part["raw"])
        else:
            (cpus if _is_cpu(part["raw"]) else gpus).append(part)
    if len(cpus) > 1 or len(gpus) > 1:
        raise CoExecError(
            f"--coexec needs one CPU and one GPU in --target, but '{text}' has {_count(cpus, gpus)}: keep one of each"
        )
    hidden = _hidden_target(cpus + gpus)
    if hidden and not (cpus and gpus):
        raise CoExecError(
            f"--target '{text}': put a space before '{hidden}', otherwise it is parsed as part of the option"
        )
    if not gpus:
        logger.warning("--target names no GPU: using %s", DEFAULT_GPU)
    has_host = gpus and "host" in gpus[0]["opts"]
    if not cpus and not has_host and DEFAULT_CPU not in options:
        logger.warning("--target names no CPU: using plain %s; one with -mcpu=... is several times faster", DEFAULT_CPU)
    gpu = gpus[0]["raw"] if gpus else DEFAULT_GPU
    cpu = [cpus[0]["raw"]] if cpus else [] if has_host else [DEFAULT_CPU]
    return ", ".join([*others, gpu, *cpu])


def from_json(text: str | None) -> Target | None:
    """Return the target with its host from inline JSON or a file; `None` for plain text.

    TVM 0.17 fails on these, because it does not set their host.
    """
    if not text or _is_plain(text):
        return None
    source = text
    try:
        if os.path.isfile(text):
            with open(text, encoding="utf-8") as stream:
                source = stream.read().strip()
        return Target(json.loads(source) if is_inline_json(source) else source)
    except (OSError, ValueError, TypeError, tvm.TVMError) as err:
        raise CoExecError(f"--target '{text}' is not a TVM target ({one_line(err)})") from None


def read_target(args: argparse.Namespace) -> Target:
    """Return the GPU target with the CPU as its host, and rewrite ``args.target`` so that TVM parses it to the same."""
    options = reconstruct_target_args(args)
    if from_json(args.target) is None:
        args.target = arrange(args.target, options)
    return target_from_text(args.target, options)[0]


def target_from_text(text: str, options: dict | None = None) -> tuple[Target, list]:
    """Parse a target as TVM's ``target_from_cli`` does, and also JSON with a host."""
    given = from_json(text)
    return target_from_cli(text, options) if given is None else (given, [])


def devices_of(target: Target) -> tuple[Target, Target]:
    """Return the CPU and the GPU target of a target with its host, in either order.

    Raises
    ------
    CoExecError
        If there is no GPU among them, or if this TVM has no code generator for one of them.
    """
    pair = [t for t in (target, target.host) if t is not None]
    cpus = [t for t in pair if t.get_target_device_type() in CPU_TYPES]
    gpus = [t for t in pair if t.get_target_device_type() not in CPU_TYPES]
    if len(gpus) != 1:
        raise CoExecError(f"co-execution needs one CPU and one GPU target, not '{target}' with host '{target.host}'")
    for t in pair:
        if tvm.get_global_func(f"target.build.{t.kind.name}", allow_missing=True) is None:
            raise CoExecError(f"this TVM was built without code generation for {t.kind.name}: use another target")
    return (cpus[0] if cpus else Target(DEFAULT_CPU)), gpus[0]


def _is_plain(text: str | None) -> bool:
    return text is not None and text != "" and not os.path.isfile(text) and not is_inline_json(text)


def _is_codegen(name: str) -> bool:
    from tvm.driver.tvmc.composite_target import get_codegen_names

    return name in get_codegen_names()


def _is_cpu(raw: str) -> bool:
    try:
        return Target(raw).get_target_device_type() in CPU_TYPES
    except (ValueError, TypeError, tvm.TVMError) as err:
        raise CoExecError(f"--target: '{raw}' is not a TVM target ({one_line(err)})") from None


def _count(cpus: list, gpus: list) -> str:
    names = [f"{len(found)} {kind}" for found, kind in ((cpus, "CPUs"), (gpus, "GPUs")) if len(found) > 1]
    return " and ".join(names)


def _hidden_target(parts: list[dict]) -> str | None:
    """Find a target hidden in an option's value: TVM parses ``llvm -mcpu=x,opencl``, without a space, as one option."""
    kinds = set(Target.list_kinds())
    for part in parts:
        for name, value in part["opts"].items():
            for word in re.split(",", str(value))[1:]:
                if name != "keys" and word in kinds:
                    return word
    return None
