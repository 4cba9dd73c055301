"""Names are compared by their words."""

from __future__ import annotations

import pytest

from packwatch.vehicles.names import join, left_over, strict, words


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ID.3", ["id", "3"]),
        ("Zoé ZE40", ["zoe", "ze", "40"]),
        ("Leaf e+", ["leaf", "e", "plus"]),
        ("i3 94Ah", ["i", "3", "94"]),
        ("Leaf 40 kWh", ["leaf", "40"]),
        ("e-Up!", ["e", "up"]),
        ("", []),
        ("!?", []),
    ],
)
def test_words(name, expected):
    assert words(name) == expected


def test_spellings_of_one_name_join_to_the_same():
    assert join(words("ID.3")) == join(words("id 3")) == join(words("ID3"))


def test_numbers_and_short_words_are_strict():
    assert strict(["model", "s", "85"]) == (["85", "s"], "model")


@pytest.mark.parametrize(
    ("name", "expected"),
    [(("zoe",), ["intens", "ze", "50"]), (("zoe", "ze", "50"), ["intens"]), (("ze", "zoe"), None), (("leaf",), None)],
)
def test_left_over(name, expected):
    assert left_over(["zoe", "intens", "ze", "50"], name) == expected
