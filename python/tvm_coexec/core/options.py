"""Options that are declared once: fields of a frozen dataclass that carry their check, their help and their flag.

A pass, ``tvmc`` and ``coexec`` take the same options. Each derives from the field what it needs::

    @dataclass(frozen=True)
    class Options:
        ratio: float | None = option(None, "RATIO", "the GPU's fraction of every operator ...", fraction)

    checked(Options, {"ratio": "0.5"})                  # Options(ratio=0.5); CoExecError for a value that is wrong
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
    """What a field of an options class carries.

    Attributes
    ----------
    metavar : str
        Stands for the value in a command's help.
    help : str
        What the option does, with its default.
    check : callable
        From what the user gave (a Python value, or a command line's text) to the value. Raises `ValueError` with the
        rest of the sentence "<option> <value> ...".
    implied : str, optional
        The value of the flag alone, for flags that may stand without one.
    """

    metavar: str
    help: str
    check: Callable[[Any], object]
    implied: str | None = None


def option(default: object, metavar: str, help: str, check: Callable[[Any], object], implied: str | None = None) -> Any:
    """A dataclass field that is an `Option`."""
    return field(default=default, metadata={_KEY: Option(metavar, help, check, implied)})


def options_of(cls: type) -> dict[str, Option]:
    """The declared options of a class, in order."""
    return {f.name: f.metadata[_KEY] for f in fields(cls) if _KEY in f.metadata}


def flag(name: str, prefix: str = "--") -> str:
    """The command-line flag of a field."""
    return prefix + name.replace("_", "-")


def checked(cls: type[_Options], given: Mapping[str, object], label: Callable[[str], str] = str) -> _Options:
    """Options from what a user gave.

    Parameters
    ----------
    cls : type
        A dataclass with declared options.
    given : mapping of str to object
        Values by name; `None` stands for the default.
    label : callable
        What error messages call an option: its name, or its flag.

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
    """Add a flag for each option to an argument parser or group; values stay as given until `checked` sees them.

    Parameters
    ----------
    add_argument : callable
        Of the parser or group.
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
    """A check: one of some names."""
    choices = tuple(names)

    def check(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"is unknown; use one of {', '.join(choices)}")
        return value

    return check


def number(valid: Callable[[float], bool], text: str) -> Callable[[Any], float]:
    """A check: a number, or the text of one, for which `valid` holds; `text` says what it must be."""

    def check(value: Any) -> float:
        try:
            found = float(value)
        except (TypeError, ValueError):
            raise ValueError(text) from None
        if isinstance(value, bool) or not valid(found):
            raise ValueError(text)
        return found

    return check
