"""``python -m tvm_coexec.tvmc`` is ``tvmc``."""

from tvm_coexec.tvmc import main

main()
