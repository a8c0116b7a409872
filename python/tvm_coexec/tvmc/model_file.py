"""The model file of ``tvmc compile``, and the errors for one that can't be read."""

from __future__ import annotations

import importlib.util
from typing import Any

from tvm.driver.tvmc import TVMCException, frontends
from tvm.driver.tvmc.model import TVMCModel

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.frontend.onnx_file import read_onnx
from tvm_coexec.frontend.onnx_import import import_onnx

from .messages import one_line


class Frontends:
    """``tvm.driver.tvmc.frontends`` as the compile command uses it, with one-sentence errors for unreadable files."""

    def __getattr__(self, name: str) -> Any:
        return getattr(frontends, name)

    @staticmethod
    def load_model(
        path: str, model_format: str | None = None, shape_dict: dict | None = None, **kwargs: object
    ) -> TVMCModel:
        """Load a model as TVM's ``load_model`` does; an unreadable file is a `TVMCException`."""
        try:
            is_onnx = model_format == "onnx" or (model_format is None and path.endswith(".onnx"))
            if (
                is_onnx and not kwargs and importlib.util.find_spec("onnx")
            ):  # if onnx is missing, TVM's own error names it
                return TVMCModel(*import_onnx(read_onnx(path), path, shape_dict))
            return frontends.load_model(path, model_format, shape_dict, **kwargs)
        except (CoExecError, TVMCException):
            raise
        except Exception as err:
            raise TVMCException(
                f"can't read the model {path}: {type(err).__name__}: {one_line(err)}; check that the file is complete "
                "and that --model-format is right"
            ) from err
