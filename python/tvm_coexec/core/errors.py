"""Errors that a user can cause and mend."""


class CoExecError(ValueError):
    """A wrong option, file or device. Its text is one sentence that says what to do."""


def one_line(err: BaseException) -> str:
    """The line of an error that says what is wrong: TVM's begin with stack traces."""
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    marked = [line for line in lines if "Error:" in line]
    return f"{(marked or lines or [type(err).__name__])[-1]}"[:300]
