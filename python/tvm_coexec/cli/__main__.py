"""``python -m tvm_coexec.cli``: the same as the command ``coexec``."""

from . import main

if __name__ == "__main__":
    raise SystemExit(main())
