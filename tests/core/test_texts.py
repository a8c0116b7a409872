"""Texts that are made to fit."""

from __future__ import annotations

import pytest

from tvm_coexec.core.texts import list_some, shorten


@pytest.mark.parametrize(
    ("text", "longest", "short"),
    [
        ("", 3, ""),
        ("nn.conv2d", 9, "nn.conv2d"),
        ("nn.conv2d+add+nn.relu", 9, "nn.c\u2026relu"),
        ("nn.conv2d+add+nn.relu", 10, "nn.co\u2026relu"),
        ("abcd", 3, "a\u2026d"),
        ("gr\u00f6\u00dfe-der-eingabe", 8, "gr\u00f6\u00df\u2026abe"),
    ],
)
def test_the_middle_of_a_long_text_is_left_out(text, longest, short):
    assert shorten(text, longest) == short and len(shorten(text, longest)) <= longest


def test_names_that_differ_at_their_ends_stay_different():
    names = ["+".join(["reshape", *["add"] * 20, last]) for last in ("mean", "nn.relu", "copy")]
    names += [f"{first}{'+add' * 20}" for first in ("erf", "exp")]
    assert len({shorten(name, 20) for name in names}) == 5


def test_many_items_are_counted():
    assert list_some([]) == "" and list_some(["a", "b", "c"]) == "a, b, c"
    assert list_some(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
