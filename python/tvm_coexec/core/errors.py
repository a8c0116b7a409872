"""Errors that a user can cause and fix."""


class CoExecError(ValueError):
    """A wrong option, file or device. Its text is one sentence that says what to do."""
