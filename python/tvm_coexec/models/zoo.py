"""Real networks for tests and benchmarks, with seeded random weights.

The onnx package carries nine graphs whose weights are left out (each is a ``ConstantOfShape`` node): the ``packaged``
ones. Two more are ``written`` here: MobileNet v2 and an encoder of the shape of BERT-base. `load` gives them weights
under which the answer depends on the input and no activation dies or overflows; `_weights` and `encoder` say how. The
finished models are kept under the user's cache directory (``$XDG_CACHE_HOME/tvm_coexec/zoo``, 5 to 575 MB each), so
that only the first `load` of a model takes its seconds. Nothing is downloaded.
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

# Recipe and its version, for the file's name.
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
    """
    if kind not in KINDS:
        raise ValueError(f"there are no {kind!r} models; kinds are: {', '.join(KINDS)}")
    return [*(_FILES if kind != "written" else ()), *(_WRITTEN if kind != "packaged" else ())]


def load(name: str) -> onnx.ModelProto:
    """Return a model of the zoo, batch 1, fp32, with seeded random weights.

    Parameters
    ----------
    name : str
        One of ``names("all")``.

    Raises
    ------
    ValueError
        If the name is unknown.
    FileNotFoundError
        If the installed onnx package does not carry the graph.
    """
    file = path(name)
    try:
        return onnx.load(str(file))
    except Exception as error:  # protobuf's own class of error differs between its versions
        _LOG.warning("%s is damaged (%s) and is made again", file, error)
        file.unlink(missing_ok=True)
        return onnx.load(str(path(name)))


def path(name: str) -> Path:
    """Return the file of a model, for tools that read ONNX files; it is made if it is not there yet."""
    identity, build = _recipe(name)
    folder = cache_dir()
    target = folder / f"{name}-{identity}.onnx"
    if target.exists():
        return target
    _LOG.info("making the weights of %s (once; kept as %s)", name, target)
    folder.mkdir(parents=True, exist_ok=True)
    model = build()
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(model.SerializeToString())
        os.replace(temporary, target)  # readers see the whole file or none
    except BaseException:
        os.unlink(temporary)
        raise
    for stale in set(folder.glob(f"{name}-r*.onnx")) - {target}:
        stale.unlink(missing_ok=True)
    return target


def inputs(model: onnx.ModelProto, seed: int = 0) -> dict[str, np.ndarray]:
    """Return a seeded random float32 image for each real input of a model, by input name.

    An image has even areas as a photograph has: a coarse random grid, enlarged, plus noise. Of plain noise, global
    pooling would leave nothing that differs from image to image.
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
    """Run a model with onnxruntime on `threads` CPU threads and return its outputs."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def cache_dir() -> Path:
    """Return the folder that keeps the finished models."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tvm_coexec" / "zoo"


def _recipe(name: str) -> tuple[str, Callable[[], onnx.ModelProto]]:
    """What identifies the finished model, and how to make it."""
    if name in _WRITTEN:
        return _WRITTEN[name]
    if name not in _FILES:
        raise ValueError(f"no model {name!r} in the zoo; there are: {', '.join(names('all'))}")
    source = _source(name)
    return _identity(source), lambda: _with_weights(name, onnx.load(str(source)))


def _source(name: str) -> Path:
    source = Path(onnx.__file__).parent / "backend/test/data/light" / f"{_FILES[name]}.onnx"
    if not source.exists():
        raise FileNotFoundError(f"onnx {onnx.__version__} does not carry {source.name}; install onnx==1.16.2")
    return source


def _identity(source: Path) -> str:
    """Identify what a finished model depends on: the recipe for its weights, and the graph."""
    return f"r{_weights.RECIPE_VERSION}-{hashlib.sha256(source.read_bytes()).hexdigest()[:8]}"


def _with_weights(name: str, model: onnx.ModelProto) -> onnx.ModelProto:
    entry = _weights.data_input(model)
    shape = tuple(dim.dim_value for dim in entry.type.tensor_type.shape.dim)
    images = [_image(shape, seed=1000 + i) for i in range(_weights.CALIBRATION_IMAGES)]
    _weights.Randomizer(model, key=name, images=images).run()
    model.ir_version = 4  # from 4 on initialisers need not be inputs as well
    return model


def _image(shape: tuple[int, ...], seed: int, cells: int = 7) -> np.ndarray:
    """Draw values of mean 0 and standard deviation about 1: for images half of it in `cells` x `cells` areas."""
    noise = np.sqrt(3.0) * (2.0 * np.random.RandomState(seed).random_sample(shape) - 1.0)
    if len(shape) != 4:
        return noise.astype(np.float32)
    coarse = 2.0 * np.random.RandomState(seed + 1_000_000).random_sample((*shape[:2], cells, cells)) - 1.0
    rows, cols = (np.minimum(np.arange(size) * cells // size, cells - 1) for size in shape[2:])
    areas = np.sqrt(3.0) * coarse[:, :, rows][:, :, :, cols]
    return ((noise + areas) * np.sqrt(0.5)).astype(np.float32)
