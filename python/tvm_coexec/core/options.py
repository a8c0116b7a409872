"""Options that are declared once: fields of a frozen dataclass with their check, help and flag.

The pass, ``tvmc`` and ``coexec`` take the same options and derive what they need from the fields::

    @dataclass(frozen=True)
    class Options:
        ratio: float | None = option(None, "RATIO", "the GPU's fraction of every operator ...", fraction)

    checked(Options, {"ratio": "0.5"})                  # Options(ratio=0.5); CoExecError for an invalid value
    add_flags(parser.add_argument, Options, "--coexec-")  # argparse's --coexec-ratio RATIO
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from .errors import CoExecError

_KEY = "option"
_Options = TypeVar("_Options")


@dataclass(frozen=True)
class Option:
    """Metadata of a field of an options class.

    Attributes
    ----------
    metavar : str
        Placeholder of the value in a command's help.
    help : str
        What the option does, with its default.
    check : callable
        Converts what the user gave (a Python value or command-line text) to the value. Raises `ValueError` whose text
        completes the sentence "<option> <value> ...".
    implied : str, optional
        The value of a flag that is given without one, if that is allowed.
    """

    metavar: str
    help: str
    check: Callable[[Any], object]
    implied: str | None = None


def option(default: object, metavar: str, help: str, check: Callable[[Any], object], implied: str | None = None) -> Any:
    """Declare a dataclass field as an `Option`."""
    return field(default=default, metadata={_KEY: Option(metavar, help, check, implied)})


def options_of(cls: type) -> dict[str, Option]:
    """Return the declared options of a class, in order."""
    return {f.name: f.metadata[_KEY] for f in fields(cls) if _KEY in f.metadata}


def flag(name: str, prefix: str = "--") -> str:
    """Return the command-line flag of a field."""
    return prefix + name.replace("_", "-")


def checked(cls: type[_Options], given: Mapping[str, object], label: Callable[[str], str] = str) -> _Options:
    """Check the options that a user gave.

    Parameters
    ----------
    cls : type
        A dataclass with declared options.
    given : mapping of str to object
        Values by name; `None` stands for the default.
    label : callable
        Name of an option in error messages: its field or its flag.

    Raises
    ------
    CoExecError
        One sentence that names the option.
    """
    known = options_of(cls)
    values: dict[str, object] = {}
    for name, value in given.items():
        if name not in known:
            raise CoExecError(f"unknown option '{name}'; use one of {', '.join(known)}")
        if value is None:
            continue
        try:
            values[name] = known[name].check(value)
        except CoExecError:
            raise
        except ValueError as err:
            raise CoExecError(f"{label(name)} {value!r} {err}") from None
    return cls(**values)


def add_flags(add_argument: Callable[..., object], cls: type, prefix: str = "--", names: Iterable[str] = ()) -> None:
    """Add a flag for each option to an argument parser or group; values stay unchecked until `checked` is called.

    Parameters
    ----------
    add_argument : callable
        Method of the parser or group.
    cls : type
    prefix : str
    names : iterable of str
        Only these options; by default all.
    """
    for name, declared in options_of(cls).items():
        if names and name not in names:
            continue
        more = {} if declared.implied is None else {"nargs": "?", "const": declared.implied}
        add_argument(flag(name, prefix), metavar=declared.metavar, help=declared.help.replace("%", "%%"), **more)


def one_of(names: Iterable[str]) -> Callable[[Any], str]:
    """Make a check for one of the given names."""
    choices = tuple(names)

    def check(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"is unknown; use one of {', '.join(choices)}")
        return value

    return check


def number(valid: Callable[[float], bool], text: str) -> Callable[[Any], float]:
    """Make a check for a number, or its text, for which `valid` holds; `text` describes valid numbers."""

    def check(value: Any) -> float:
        try:
            found = float(value)
        except (TypeError, ValueError):
            raise ValueError(text) from None
        if isinstance(value, bool) or not valid(found):
            raise ValueError(text)
        return found

    return check
