"""Let compilation continue if TVM's pre-tuned logs (TopHub) cannot be downloaded.

TVM downloads logs of tuned schedules when it builds for a GPU target. One of the two functions that do so
(`load_reference_log`) does not catch the error of a failed download, so ``relay.build`` raises on a machine without
network; and if packets are dropped instead of refused, each attempt takes minutes. `install` replaces the download by
one with a short timeout: one attempt per location and process, one log line, and compilation continues without the
logs. With a network nothing changes, and TVM's own settings keep working: the environment variable ``TOPHUB_LOCATION``
(``NONE``, a mirror, a ``file://`` folder) and ``tvm.autotvm.tophub.AUTOTVM_TOPHUB_ROOT_PATH``, the folder of the logs.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

_LOG = logging.getLogger("tvm_coexec")

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0

_unreachable: set[str] = set()  # locations
_missing: set[tuple[str, str]] = set()  # (location, package)
_original: dict[str, object] = {}
_lock = threading.Lock()


def install() -> None:
    """Replace TVM's two functions that download TopHub packages. Idempotent."""
    from tvm.autotvm import tophub

    if _original or not all(hasattr(tophub, name) for name in ("check_backend", "download_package", "PACKAGE_VERSION")):
        return

    def check_backend(tophub_location: str, backend: str) -> bool:
        package = f"{tophub._alias(backend)}_{tophub.PACKAGE_VERSION[tophub._alias(backend)]}.log"
        kept = Path(tophub.AUTOTVM_TOPHUB_ROOT_PATH, package)
        return kept.is_file() or fetch(tophub_location, package, kept)

    def download_package(tophub_location: str, package_name: str) -> None:
        fetch(tophub_location, package_name, Path(tophub.AUTOTVM_TOPHUB_ROOT_PATH, package_name))

    for function in (check_backend, download_package):
        _original[function.__name__] = getattr(tophub, function.__name__)
        setattr(tophub, function.__name__, function)


def uninstall() -> None:
    """Restore TVM's own functions and forget which locations failed."""
    from tvm.autotvm import tophub

    for name, function in _original.items():
        setattr(tophub, name, function)
    _original.clear()
    _unreachable.clear()
    _missing.clear()


def fetch(location: str, package: str, target: Path) -> bool:
    """Download one package unless its location failed before in this process.

    Parameters
    ----------
    location : str
        URL of the folder that holds the packages.
    package : str
        Name of the package's file.
    target : pathlib.Path
        The file to write; it is complete or not written.

    Returns
    -------
    bool
        Whether the file exists afterwards.
    """
    with _lock:
        if location in _unreachable or (location, package) in _missing:
            return False
        try:
            _download(f"{location}/{package}", target)
            return True
        except (OSError, ValueError) as error:  # URLError is an OSError; a malformed URL raises ValueError
            reason = getattr(error, "reason", error)
            if isinstance(error, urllib.error.HTTPError) or location.startswith("file:"):
                _missing.add((location, package))
                _LOG.warning("TopHub has no %s (%s): compiling without these tuned schedules", package, reason)
            else:
                _unreachable.add(location)
                _LOG.warning(
                    "TopHub cannot be fetched (%s): compiling without its schedules; TOPHUB_LOCATION=NONE skips it",
                    reason,
                )
            return False


def _download(url: str, target: Path) -> None:
    with _open(url) as response:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
        try:
            with os.fdopen(handle, "wb") as stream:
                shutil.copyfileobj(response, stream)
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise


def _open(url: str) -> Any:
    """Open a URL with a time limit of `CONNECT_TIMEOUT_S`, which also covers the look-up of the host name."""
    outcome: list[Any] = []  # the response or the exception

    def connect() -> None:
        try:
            outcome.append(urllib.request.urlopen(url, timeout=READ_TIMEOUT_S))
        except Exception as error:  # raised below, in the caller's thread
            outcome.append(error)

    thread = threading.Thread(target=connect, name="tophub-connect", daemon=True)
    thread.start()
    thread.join(CONNECT_TIMEOUT_S)
    if not outcome:
        raise TimeoutError(f"no answer in {CONNECT_TIMEOUT_S:.0f} s")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]
