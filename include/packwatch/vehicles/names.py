"""Spellings: compare the names of makes and models whatever their case, accents, blanks and punctuation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_UNIT_WORDS = {"kwh", "ah"}


def words(text: str) -> list[str]:
    """Split a name into lower-case words and numbers without accents and units: 'Zoé ZE40' -> zoe, ze, 40."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower().replace("+", " plus ")
    return [word for word in re.findall(r"[a-z]+|\d+", plain) if word not in _UNIT_WORDS]


def join(parts: Iterable[str]) -> str:
    """Return the compact form in which names are compared: 'ID.3' and 'ID 3' are both id3."""
    return "".join(parts)


def strict(parts: list[str]) -> tuple[list[str], str]:
    """Part a name into what must be identical (numbers, words of one or two letters) and what may be misspelled."""
    exact = sorted(word for word in parts if word.isdigit() or len(word) <= 2)
    return exact, join(word for word in parts if not word.isdigit() and len(word) > 2)


def left_over(parts: list[str], name: tuple[str, ...]) -> list[str] | None:
    """Return the words beside `name` when its words stand in `parts` in order, else None."""
    rest, wanted = [], list(name)
    for word in parts:
        if wanted and word == wanted[0]:
            wanted.pop(0)
        else:
            rest.append(word)
    return None if wanted else rest
