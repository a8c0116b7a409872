"""Verify plans: build, run and time the best few on the devices, correct the costs by them, and keep the fastest.

=============  =====================================================================================================
`options`      the user's options
`candidates`   choice of the plans to measure; imports no TVM
`correct`      costs corrected by recorded runs, and the plans that they lead to; imports no TVM
`bench`        builds plans, and requests runs from the child process
`child`        the process that runs plans
`entries`      builds plans, compares their outputs with a single device's, and times them in turns
`run`          the order of all this; chooses the fastest
=============  =====================================================================================================
"""

from __future__ import annotations

from .options import DEFAULT_PLANS, Verify, check_verify

__all__ = ["DEFAULT_PLANS", "Verify", "check_verify"]
