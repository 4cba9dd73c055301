"""Lines are found and joined again by position alone."""

from __future__ import annotations

import numpy as np
import pytest

from packwatch.errors import UnreadableLog
from packwatch.ingest.formats.lines import check_utf8, split_lines


def test_lines_that_hold_something_are_counted():
    lines = split_lines(b"a\n\n bc \n\t\nd")
    assert [lines.text(number) for number in range(len(lines))] == ["a", " bc ", "d"]


@pytest.mark.parametrize("data", [b"", b"\n", b" \n\t\n"])
def test_nothing(data):
    lines = split_lines(data)
    assert len(lines) == 0
    assert lines.count(",").tolist() == []
    assert lines.join(np.zeros(0, dtype=bool)) == b""


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [([1, 1, 1], b"a\nbb\nccc\n"), ([1, 0, 1], b"a\nccc\n"), ([0, 1, 0], b"bb\n"), ([0, 0, 0], b"")],
)
def test_chosen_lines_are_joined(chosen, expected):
    assert split_lines(b"a\nbb\n\nccc").join(np.array(chosen, dtype=bool)) == expected


def test_characters_are_counted_by_line():
    assert split_lines(b"a,b\n,,,\nx\n\n,").count(",").tolist() == [1, 3, 0, 1]


def test_bytes_of_another_encoding_are_shown_somehow():
    assert split_lines(b"\xff").text(0) == "\ufffd"
    assert split_lines(b"\xe4", "latin-1").text(0) == "ä"


def test_utf8_is_accepted_across_pieces():
    check_utf8("ä".encode() * 10_000_000, "x")  # 20 MB: a letter lies across the end of a piece or not at all


@pytest.mark.parametrize("bad", [b"\xff", b"ok \xc3", b"\xe4bc"])
def test_other_bytes_are_refused(bad):
    with pytest.raises(UnreadableLog, match="not UTF-8") as caught:
        check_utf8(bad, "x")
    assert caught.value.reason == "wrong_encoding"
