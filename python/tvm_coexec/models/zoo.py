"""Real networks for tests and benchmarks, with seeded random weights.

The onnx package has nine graphs without weights (each weight is a ``ConstantOfShape`` node): the ``packaged`` ones. Two
more are ``written`` here: MobileNet v2 and an encoder of the shape of BERT-base. `load` gives them weights with which
the output depends on the input and no activation dies or overflows (see `_weights` and `encoder`). Finished models are
kept in the user's cache directory (``$XDG_CACHE_HOME/tvm_coexec/zoo``, 5 to 575 MB each), so that only the first `load`
of a model takes seconds. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from . import _weights, encoder, mobilenet

_LOG = logging.getLogger("tvm_coexec")

_FILES = {
    "resnet50": "light_resnet50",
    "vgg19": "light_vgg19",
    "squeezenet": "light_squeezenet",
    "shufflenet": "light_shufflenet",
    "inception_v1": "light_inception_v1",
    "inception_v2": "light_inception_v2",
    "densenet121": "light_densenet121",
    "alexnet": "light_bvlc_alexnet",
    "zfnet512": "light_zfnet512",
}

# Version of the recipe (part of the file's name), and the recipe.
_WRITTEN: dict[str, tuple[str, Callable[[], onnx.ModelProto]]] = {
    "mobilenet": (
        f"r{_weights.RECIPE_VERSION}-{mobilenet.RECIPE_VERSION}",
        lambda: _with_weights("mobilenet", mobilenet.graph()),
    ),
    "bert_base": (f"r{encoder.RECIPE_VERSION}", lambda: encoder.Encoder().model()),
}
KINDS = ("packaged", "written", "all")


def names(kind: str = "packaged") -> list[str]:
    """Return names that `load` knows.

    Parameters
    ----------
    kind : {"packaged", "written", "all"}
        The nine graphs in the onnx package; ``mobilenet`` and ``bert_base``; or all of them.

    Returns
    -------
    list of str
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of models {kind!r}; use one of: {', '.join(KINDS)}")
    return [*(_FILES if kind != "written" else ()), *(_WRITTEN if kind != "packaged" else ())]


def load(name: str) -> onnx.ModelProto:
    """Return a model of the zoo, batch 1, fp32, with seeded random weights.

    Parameters
    ----------
    name : str
        One of ``names("all")``.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ValueError
        If the name is unknown.
    FileNotFoundError
        If the installed onnx package does not have the graph.
    """
    file = path(name)
    try:
        return onnx.load(str(file))
    except Exception as error:  # protobuf's class of error differs between versions
        _LOG.warning("%s is damaged (%s) and is rebuilt", file, error)
        file.unlink(missing_ok=True)
        return onnx.load(str(path(name)))


def path(name: str) -> Path:
    """Return the ONNX file of a model, and build it first if necessary.

    Parameters
    ----------
    name : str
        One of ``names("all")``.

    Returns
    -------
    pathlib.Path
    """
    identity, build = _recipe(name)
    folder = cache_dir()
    target = folder / f"{name}-{identity}.onnx"
    if target.exists():
        return target
    _LOG.info("building the weights of %s (once; kept as %s)", name, target)
    folder.mkdir(parents=True, exist_ok=True)
    model = build()
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(model.SerializeToString())
        os.replace(temporary, target)  # readers see a complete file or none
    except BaseException:
        os.unlink(temporary)
        raise
    for stale in set(folder.glob(f"{name}-r*.onnx")) - {target}:
        stale.unlink(missing_ok=True)
    return target


def inputs(model: onnx.ModelProto, seed: int = 0) -> dict[str, np.ndarray]:
    """Return a seeded random float32 image for each data input of a model.

    An image has uniform areas like a photograph: an enlarged coarse random grid plus noise. With noise alone, global
    pooling would make all images equal.

    Parameters
    ----------
    model : onnx.ModelProto
    seed : int

    Returns
    -------
    dict of str to numpy.ndarray
        By input name.

    Raises
    ------
    ValueError
        If an input has no fixed shape.
    """
    found = {}
    weights = {tensor.name for tensor in model.graph.initializer}
    for entry in model.graph.input:
        if entry.name not in weights:
            shape = tuple(dim.dim_value for dim in entry.type.tensor_type.shape.dim)
            if 0 in shape:
                raise ValueError(f"input {entry.name!r} has no fixed shape: {shape}")
            found[entry.name] = _image(shape, seed)
    return found


def reference(model: onnx.ModelProto, inputs: dict[str, np.ndarray], threads: int = 1) -> list[np.ndarray]:
    """Run a model with onnxruntime.

    Parameters
    ----------
    model : onnx.ModelProto
    inputs : dict of str to numpy.ndarray
    threads : int
        Number of CPU threads.

    Returns
    -------
    list of numpy.ndarray
        The model's outputs.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def cache_dir() -> Path:
    """Return the folder of finished models."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tvm_coexec" / "zoo"


def _recipe(name: str) -> tuple[str, Callable[[], onnx.ModelProto]]:
    """Return the identity of the finished model, and the function that builds it."""
    if name in _WRITTEN:
        return _WRITTEN[name]
    if name not in _FILES:
        raise ValueError(f"no model {name!r} in the zoo; use one of: {', '.join(names('all'))}")
    source = _source(name)
    return _identity(source), lambda: _with_weights(name, onnx.load(str(source)))


def _source(name: str) -> Path:
    source = Path(onnx.__file__).parent / "backend/test/data/light" / f"{_FILES[name]}.onnx"
    if not source.exists():
        raise FileNotFoundError(f"onnx {onnx.__version__} does not have {source.name}; install onnx==1.16.2")
    return source


def _identity(source: Path) -> str:
    """Return the identity of what a finished model depends on: the recipe of its weights, and the graph."""
    return f"r{_weights.RECIPE_VERSION}-{hashlib.sha256(source.read_bytes()).hexdigest()[:8]}"


def _with_weights(name: str, model: onnx.ModelProto) -> onnx.ModelProto:
    entry = _weights.data_input(model)
    shape = tuple(dim.dim_value for dim in entry.type.tensor_type.shape.dim)
    images = [_image(shape, seed=1000 + i) for i in range(_weights.CALIBRATION_IMAGES)]
    _weights.Randomizer(model, key=name, images=images).run()
    model.ir_version = 4  # from version 4 on initialisers need not be inputs
    return model


def _image(shape: tuple[int, ...], seed: int, cells: int = 7) -> np.ndarray:
    """Draw values of mean 0 and standard deviation 1; half the variance of images is in `cells` x `cells` areas."""
    noise = np.sqrt(3.0) * (2.0 * np.random.RandomState(seed).random_sample(shape) - 1.0)
    if len(shape) != 4:
        return noise.astype(np.float32)
    coarse = 2.0 * np.random.RandomState(seed + 1_000_000).random_sample((*shape[:2], cells, cells)) - 1.0
    rows, cols = (np.minimum(np.arange(size) * cells // size, cells - 1) for size in shape[2:])
    areas = np.sqrt(3.0) * coarse[:, :, rows][:, :, :, cols]
    return ((noise + areas) * np.sqrt(0.5)).astype(np.float32)
