"""Plans verified: the best few are built, run and timed on the devices, and the fastest is kept.

=============  =====================================================================================================
`options`      what a user may say about it
`candidates`   which plans are worth measuring; imports no TVM
`bench`        building them, and the process that runs them
`child`        what that process does
`run`          the whole of it: measured in turns, compared with a single device's output, the fastest chosen
=============  =====================================================================================================
"""

from __future__ import annotations

from .options import DEFAULT_PLANS, Verify, check_verify

__all__ = ["DEFAULT_PLANS", "Verify", "check_verify"]
