"""Text by lines without a loop over them: where lines begin and end, and parts of a text made of whole lines."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

import numpy as np

from packwatch.errors import UnreadableLog

_NEWLINE, _BLANK = 10, 32
_CHUNK_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Lines:
    """A text whose lines end with a line feed; only lines that hold more than blanks are counted.

    `starts` and `ends` are byte positions, the line feed not included.
    """

    data: bytes
    starts: np.ndarray
    ends: np.ndarray
    encoding: str

    def __len__(self) -> int:
        return len(self.starts)

    def text(self, line: int | np.integer) -> str:
        """Return one line."""
        return self.data[self.starts[line] : self.ends[line]].decode(self.encoding, errors="replace")

    def join(self, chosen: np.ndarray) -> bytes:
        """Return the lines for which the boolean `chosen` is true, each with its line feed."""
        starts, ends = self.starts[chosen], self.ends[chosen]
        if int((ends - starts + 1).sum()) == len(self.data):
            return self.data
        edges = np.zeros(len(self.data) + 1, dtype=np.int8)
        edges[starts] += 1
        edges[ends + 1] -= 1
        keep = np.cumsum(edges[:-1], dtype=np.int8).view(bool)
        return np.frombuffer(self.data, dtype=np.uint8)[keep].tobytes()

    def count(self, character: str) -> np.ndarray:
        """Return how often `character` stands in each line."""
        if not len(self):
            return np.zeros(0, dtype=np.int64)
        places = np.flatnonzero(np.frombuffer(self.data, dtype=np.uint8) == ord(character))
        return np.searchsorted(places, self.ends) - np.searchsorted(places, self.starts)


def split_lines(data: bytes, encoding: str = "utf-8") -> Lines:
    """Find the lines of a text; drops a byte-order mark and NUL bytes, and takes CR LF and CR for a line feed."""
    text = data.removeprefix(codecs.BOM_UTF8)
    if b"\0" in text:
        text = text.replace(b"\0", b"")
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if not text.endswith(b"\n"):
        text += b"\n"
    buffer = np.frombuffer(text, dtype=np.uint8)
    ends = np.flatnonzero(buffer == _NEWLINE)
    starts = np.concatenate([[0], ends[:-1] + 1])
    written = buffer[starts] > _BLANK
    if not written.all():  # a blank first character: look at the whole line
        written = np.logical_or.reduceat(buffer > _BLANK, starts)
    return Lines(text, starts[written], ends[written], encoding)


def check_utf8(data: bytes, name: str) -> None:
    """Refuse a text that is not UTF-8.

    Raises:
        UnreadableLog: wrong_encoding, with the position of the first bad byte.
    """
    if data.isascii():
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(data), _CHUNK_BYTES):
        chunk = data[start : start + _CHUNK_BYTES]
        try:
            decoder.decode(chunk, final=start + _CHUNK_BYTES >= len(data))
        except UnicodeDecodeError as error:
            raise UnreadableLog(
                "wrong_encoding",
                f"{name}: not UTF-8 (byte {error.object[error.start]:#04x} near position {start + error.start}). "
                "Save it as UTF-8.",
            ) from None
