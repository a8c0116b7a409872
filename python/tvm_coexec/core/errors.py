"""Errors that a user can cause and fix."""


class CoExecError(ValueError):
    """A wrong option, file or device. The text is one sentence that says what to do."""


def one_line(err: BaseException) -> str:
    """Return the line of an error that says what is wrong: TVM's errors start with stack traces."""
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    marked = [line for line in lines if "Error:" in line]
    return f"{(marked or lines or [type(err).__name__])[-1]}"[:300]
