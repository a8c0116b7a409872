"""``python -m tvm_coexec.tvmc`` is ``tvmc``."""

from . import main

main()
