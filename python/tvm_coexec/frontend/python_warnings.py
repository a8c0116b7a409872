"""Python warnings that TVM emits."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger("tvm_coexec")


@contextmanager
def log_tvm_warnings() -> Iterator[None]:
    """Send Python warnings of TVM's own files to the log, at level info.

    A command answers with its result or with one sentence. TVM's importer warns of what its authors would want to know,
    such as a shape that the file leaves out, two lines each; ``-v`` shows them.
    """
    import tvm

    folder = os.path.dirname(tvm.__file__) + os.sep
    with warnings.catch_warnings():
        stock = warnings.showwarning

        def show(message, category, filename, lineno, file=None, line=None) -> None:
            if filename.startswith(folder):
                logger.info("%s: %s", category.__name__, " ".join(str(message).split()))
            else:
                stock(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield
