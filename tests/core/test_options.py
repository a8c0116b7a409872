"""Options that are declared once: checks, flags, and messages that name what the user wrote."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import pytest

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.options import add_flags, checked, flag, number, one_of, option, options_of


@dataclass(frozen=True)
class Cooking:
    heat: float | None = option(None, "DEGREES", "100 % of it", number(lambda v: v > 0, "must be more than 0"))
    way: str = option("fry", "NAME", "how", one_of(("fry", "boil")))
    most_eggs: int = option(2, "N", "how many", int, implied="12")


def parse(*argv: str) -> dict[str, object]:
    parser = argparse.ArgumentParser()
    add_flags(parser.add_argument, Cooking, "--egg-")
    return {name.removeprefix("egg_"): value for name, value in vars(parser.parse_args(argv)).items()}


def test_flags_give_the_text_and_checked_the_value():
    assert list(options_of(Cooking)) == ["heat", "way", "most_eggs"]
    assert checked(Cooking, parse()) == Cooking()
    assert checked(Cooking, parse("--egg-heat", "99.5", "--egg-way", "boil", "--egg-most-eggs")) == Cooking(
        99.5, "boil", 12
    )
    assert checked(Cooking, parse("--egg-most-eggs", "3")).most_eggs == 3
    # what was checked may be checked again
    assert checked(Cooking, vars(Cooking(80.0, "boil", 1))) == Cooking(80.0, "boil", 1)


def test_help_says_what_was_declared():
    parser = argparse.ArgumentParser(prog="egg")
    add_flags(parser.add_argument, Cooking, names=("heat",))
    text = parser.format_help()
    assert "--heat DEGREES" in text and "100 % of it" in text and "--way" not in text


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"heat": "hot"}, "--heat 'hot' must be more than 0"),
        ({"heat": 0}, "--heat 0 must be more than 0"),
        ({"heat": float("nan")}, "--heat nan must be more than 0"),
        ({"heat": True}, "--heat True must be more than 0"),
        ({"way": "bake"}, "--way 'bake' is unknown; use one of fry, boil"),
        ({"weigh": 1}, "unknown option 'weigh'; use one of heat, way, most_eggs"),
    ],
)
def test_one_sentence_names_the_option(given, text):
    with pytest.raises(CoExecError) as err:
        checked(Cooking, given, flag)
    assert str(err.value) == text
