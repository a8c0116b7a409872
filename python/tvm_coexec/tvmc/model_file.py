"""The model file of ``tvmc compile``: what is wrong with one that can't be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tvm.driver.tvmc import TVMCException, frontends

from tvm_coexec.core.errors import one_line

from .patching import replaced


class Frontends:
    """``tvm.driver.tvmc.frontends`` as the compile command uses it; says what is wrong with a file it can't read."""

    def __getattr__(self, name: str):
        return getattr(frontends, name)

    @staticmethod
    def load_model(path: str, model_format: str | None = None, *args: object, **kwargs: object):
        try:
            if model_format == "onnx" or (model_format is None and path.endswith(".onnx")):
                with _complete_onnx_only():
                    return frontends.load_model(path, model_format, *args, **kwargs)
            return frontends.load_model(path, model_format, *args, **kwargs)
        except TVMCException:
            raise
        except Exception as err:
            raise TVMCException(
                f"can't read the model {path}: {type(err).__name__}: {one_line(err)}; is the file complete and of the "
                "right format (--model-format)?"
            ) from err


@contextmanager
def _complete_onnx_only() -> Iterator[None]:
    """The ONNX frontend takes an empty file for an empty model, and one cut behind the graph for one of opset 1."""
    try:
        import onnx
    except ImportError:  # TVM says so, with what to install
        yield
        return
    stock = onnx.load

    def load(source, *args: object, **kwargs: object):
        model = stock(source, *args, **kwargs)
        if not model.HasField("graph") or not (model.opset_import or 0 < model.ir_version < 3):
            size = os.path.getsize(source) if isinstance(source, (str, os.PathLike)) else 0
            raise TVMCException(f"can't read the model {source}: it is no complete ONNX model ({size} bytes)")
        return model

    with replaced(onnx, load=load):
        yield
