"""Libraries that only some predictors need, imported when they are fitted."""

from __future__ import annotations

import importlib
from typing import Any

from tvm_coexec.core.errors import CoExecError


def require(module: str, purpose: str, extra: str = "predictors") -> Any:
    """Import a module of an optional library.

    Parameters
    ----------
    module : str
        Such as ``sklearn.ensemble``.
    purpose : str
        What needs it, in the plural, for the message.
    extra : str
        Name of the extra that installs it.

    Raises
    ------
    CoExecError
        If it is not installed; the text states how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        name = {"sklearn": "scikit-learn"}.get(root := module.split(".")[0], root)
        raise CoExecError(f"{purpose} need {name}: install the extra, pip install 'tvm-coexec[{extra}]'") from None
