"""Workloads of operators and their shares, and records with made-up times: only what a build takes is tested here."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from math import prod

import tvm
from tvm import autotvm
from tvm.autotvm.task.space import ConfigEntity, OtherOptionSpace, SplitSpace

from tvm_coexec.tuning.records import Pair, Records

CPU = tvm.target.Target("llvm -mcpu=core-avx2")
GPU = tvm.target.Target("opencl -model=pocl", host="llvm -mcpu=core-avx2")


def tensor(*shape: int) -> tuple:
    return ("TENSOR", shape, "float32")


def conv2d(template: str, data, kernel, stride=1, pads=(0, 0, 0, 0), groups: int | None = None) -> tuple:
    """The workload of a convolution; `data` and `kernel` in the order of NCHW."""
    layouts = ("NCHW", "NCHW") if "NCHWc" in template else ()
    grouped = () if groups is None else (groups,)
    arguments = (tensor(*data), tensor(*kernel), (stride, stride), pads, (1, 1), *grouped, *layouts, "float32")
    return (template, *arguments)


def target_of(workload: tuple) -> tvm.target.Target:
    return CPU if workload[0].endswith("x86") else GPU


def _products() -> Iterator[tuple[str, tuple, tuple]]:
    for template in ("dense_pack.x86", "dense_nopack.x86", "dense_small_batch.gpu", "dense_large_batch.gpu"):
        whole = (template, tensor(40, 64), tensor(48, 64), None, "float32")
        yield "n", whole, (template, tensor(40, 64), tensor(37, 64), None, "float32")
        yield "m", whole, (template, tensor(13, 64), tensor(48, 64), None, "float32")
        yield "k", whole, (template, tensor(40, 56), tensor(48, 56), None, "float32")
    for template in ("batch_matmul.x86", "batch_matmul.cuda"):
        whole = (template, tensor(6, 40, 16), tensor(6, 48, 16), None, "float32", False, True)
        yield "batch", whole, (template, tensor(5, 40, 16), tensor(5, 48, 16), None, "float32", False, True)
        yield "m", whole, (template, tensor(6, 13, 16), tensor(6, 48, 16), None, "float32", False, True)
        yield "n", whole, (template, tensor(6, 40, 16), tensor(6, 17, 16), None, "float32", False, True)


def _convolutions() -> Iterator[tuple[str, tuple, tuple]]:
    for template in ("conv2d_NCHWc.x86", "conv2d_nchw.cuda"):
        for taps, stride, pad in ((3, 2, 1), (1, 1, 0)):
            pads = (pad,) * 4

            def conv(c=24, h=23, o=48, pads=pads, template=template, taps=taps, stride=stride):
                return conv2d(template, (1, c, h, 23), (o, c, taps, taps), stride, pads)

            yield "oc", conv(), conv(o=13)
            yield "h", conv(), conv(h=11, pads=(pad, pad, 0, pad))
            yield "ic", conv(), conv(c=11)
    for template in ("depthwise_conv2d_NCHWc.x86", "depthwise_conv2d_nchw.cuda"):
        whole = conv2d(template, (1, 24, 28, 28), (24, 1, 3, 3), 1, (1,) * 4)
        yield "oc", whole, conv2d(template, (1, 7, 28, 28), (7, 1, 3, 3), 1, (1,) * 4)
        yield "h", whole, conv2d(template, (1, 24, 13, 28), (24, 1, 3, 3), 1, (1, 1, 0, 1))
    for template in ("group_conv2d_nchw.x86", "group_conv2d_nchw.cuda"):
        whole = conv2d(template, (1, 32, 14, 14), (24, 8, 3, 3), 1, (1,) * 4, groups=4)
        yield "oc", whole, conv2d(template, (1, 24, 14, 14), (18, 8, 3, 3), 1, (1,) * 4, groups=3)
        yield "h", whole, conv2d(template, (1, 32, 9, 14), (24, 8, 3, 3), 1, (1, 1, 0, 1), groups=4)


# (axis, workload of the whole operator, workload of a share)
SHARES = [*_convolutions(), *_products()]


def task_of(workload: tuple) -> autotvm.task.Task:
    return autotvm.task.create(workload[0], workload[1:], target_of(workload))


def gentle_config(task: autotvm.task.Task, rng: random.Random) -> ConfigEntity:
    """A random configuration of the template's own space, of those that compile fast: little is unrolled."""
    index, stride = 0, 1
    for space in task.config_space.space_map.values():
        choices = list(range(len(space)))
        if isinstance(space, OtherOptionSpace):
            choices = choices[:1]
        elif isinstance(space, SplitSpace):
            sizes = [e.size[1:] for e in space.entities]
            small = [i for i in choices if prod(sizes[i]) <= 16 and (len(sizes[i]) < 3 or sizes[i][0] <= 2)]
            choices = small or [min(choices, key=lambda i: prod(sizes[i]))]
        index += stride * rng.choice(choices)
        stride *= len(space)
    return task.config_space.get(index)


def make_records(tasks: Iterable[autotvm.task.Task], count: int = 3, seed: int = 0) -> Records:
    """Random records of tasks; the first of a task is the fastest."""
    rng, pairs = random.Random(seed), list[Pair]()
    for task in tasks:
        for i in range(count):
            config = gentle_config(task, rng)
            measured = autotvm.MeasureInput(task.target, autotvm.task.Task(task.name, task.args), config)
            pairs.append((measured, autotvm.MeasureResult((1e-3 * (1 + i),), 0, 0.1, 0.0)))
    return Records(tuple(pairs), "made-up records")
