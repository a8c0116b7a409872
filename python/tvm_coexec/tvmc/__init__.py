"""TVM's command line with co-execution: ``tvmc compile --coexec`` and ``tvmc run`` on two devices.

tvmc has no plug-in mechanism, builds for one target and runs on one device. So this package installs itself into
``tvm.driver.tvmc`` when it is imported (`plugin`), and its console script `main` then runs TVM's own ``main``: every
other command and option is TVM's. The pieces:

=============  =====================================================================================================
`options`      ``--coexec-...`` on the command line, ``coexec -ratio=0.5`` in a target, as one frozen dataclass
`target_text`  which part of ``--target`` is the CPU and which the GPU, and what is missing
`compiling`    the ``compile`` command and the one call in it that builds
`package`      the devices that a compiled archive needs
`running`      the ``run`` command and the one call in it that creates the executor
`tuning`       the ``tune`` command
`staging`      output files that appear complete or not at all
`messages`     errors as one line
=============  =====================================================================================================
"""

from __future__ import annotations

from .plugin import install, main

install()

__all__ = ["install", "main"]
