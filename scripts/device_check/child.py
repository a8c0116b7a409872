"""What runs in the process of a section: ``python -m scripts.device_check.child SECTION FOLDER``.

For tests, ``DEVICE_CHECK_FAULT`` makes a section go wrong before it does anything: ``SECTION:crash``, ``SECTION:hang``,
``SECTION:raise``, separated by commas.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
import traceback
from pathlib import Path

from scripts.device_check.job import Absent, Job
from scripts.device_check.supervise import ABSENT, FAILED, OK


def inject_fault(name: str) -> None:
    """Go wrong as ``DEVICE_CHECK_FAULT`` says."""
    for item in filter(None, os.environ.get("DEVICE_CHECK_FAULT", "").split(",")):
        section, _, what = item.partition(":")
        if section != name:
            continue
        if what == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if what == "hang":
            time.sleep(3600)
        raise RuntimeError(f"a fault that DEVICE_CHECK_FAULT={item} asks for")


def describe(error: Exception) -> str:
    """Return an error in one line."""
    try:
        from tvm_coexec.core.errors import one_line
    except ImportError:  # then this is probably the error itself
        return f"{type(error).__name__}: {error}"
    return f"{type(error).__name__}: {one_line(error)}"


def main(name: str, folder: str) -> int:
    """Run the section and write its result; 0 even if the section has failed, since that is the result."""
    limit_s = float(os.environ.get("DEVICE_CHECK_DUMP_S", "0"))
    if limit_s:
        faulthandler.dump_traceback_later(limit_s)
    job = Job(name, Path(folder))
    try:
        job.stage("starting")
        inject_fault(name)
        from scripts.device_check.sections import find

        find(name)(job)
        job.finish(FAILED if job.wrong else OK, "; ".join(job.wrong))
    except Absent as absent:
        job.finish(ABSENT, str(absent))
    except Exception as error:  # whatever it is, it is what this section has found
        traceback.print_exc()
        job.finish(FAILED, describe(error))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a driver that crashes or hangs while it is unloaded does not change the result


if __name__ == "__main__":
    main(*sys.argv[1:3])
