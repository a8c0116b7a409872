"""Verify plans: build, run and time the best few on the devices, and keep the fastest.

=============  =====================================================================================================
`options`      the user's options
`candidates`   choice of the plans to measure; imports no TVM
`bench`        builds plans, and requests runs from the child process
`child`        the process that runs plans
`run`          measures plans in turns, compares their outputs with a single device's, chooses the fastest
=============  =====================================================================================================
"""

from __future__ import annotations

from .options import DEFAULT_PLANS, Verify, check_verify

__all__ = ["DEFAULT_PLANS", "Verify", "check_verify"]
