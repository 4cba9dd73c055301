"""Raw logs of any known format to canonical rows.

One adapter a format: it recognizes its logs by their content, never by their name, and reads them into a `ParsedLog`.
To add a format, write a module with `recognizes` and `parse` and list it in `ADAPTERS`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from packwatch.config import settings
from packwatch.errors import UnreadableLog, UsageError
from packwatch.ingest.formats import canonical, json_lines, leafspy
from packwatch.ingest.formats.canonical import write_log
from packwatch.ingest.formats.compression import decompress
from packwatch.ingest.formats.lines import split_lines
from packwatch.ingest.formats.parsed import REJECT_SCHEMA, ParsedLog

__all__ = ["ADAPTERS", "REJECT_SCHEMA", "Adapter", "ParsedLog", "parse_log", "write_log"]


@dataclass(frozen=True)
class Adapter:
    """One format: its code, what people call it, and how its logs are recognized and read."""

    format: str
    title: str
    recognizes: Callable[[bytes], bool]
    parse: Callable[[bytes, str, Mapping[str, str]], ParsedLog]


# In the order in which they are asked, the most distinctive first.
ADAPTERS = (
    Adapter("canonical-parquet", "canonical Parquet", canonical.recognizes_parquet, canonical.parse_parquet),
    Adapter("leafspy", "LeafSpy CSV", leafspy.recognizes, leafspy.parse),
    Adapter("canonical-jsonl", "canonical JSON Lines", json_lines.recognizes, json_lines.parse),
    Adapter("canonical-csv", "canonical CSV", canonical.recognizes_csv, canonical.parse_csv),
)

_NO_HINTS: Mapping[str, str] = MappingProxyType({})
_HEAD_BYTES = 4096
_SHOWN_FIELDS, _SHOWN_CHARACTERS = 6, 40
# Text holds none of these but tab, line feed, form feed, carriage return and escape.
_CONTROL = bytes(set(range(32)) - {9, 10, 12, 13, 27} | {127})
# More control characters than this share make it binary; NUL padding is taken off before counting.
_CONTROL_SHARE_MAX = 0.02
# UTF-16 of Latin text: every second byte is 0.
_UTF16_ZERO_SHARE = 0.3
_KNOWN_BINARIES = {
    b"PK\x03\x04": "a ZIP archive or a spreadsheet (unpack it, or save it as CSV)",
    b"%PDF": "a PDF",
    b"SQLite format 3": "an SQLite database",
    b"BZh": "a bzip2 archive (only gzip and zstd are unpacked)",
    b"\xfd7zXZ": "an xz archive (only gzip and zstd are unpacked)",
}


def parse_log(data: bytes, name: str, hints: Mapping[str, str] = _NO_HINTS, format: str = "auto") -> ParsedLog:
    """Read one raw object.

    Args:
        data: its content, as uploaded: plain, gzip or zstd.
        name: its key; rows carry it as source_object and messages name it.
        hints: vin, make, model, year to use where the log itself has none.
        format: 'auto' to recognize it by content, or the format of one of `ADAPTERS`.

    Raises:
        UnreadableLog: the object as a whole cannot be read; its reason is a short code such as empty_object, too_large,
            truncated_compression, unknown_format, wrong_encoding, header_without_rows or missing_columns.
        UsageError: no such format.
    """
    known = {adapter.format: adapter for adapter in ADAPTERS}
    if format != "auto" and format not in known:
        raise UsageError(f"format {format!r} is unknown; choose auto or one of {', '.join(known)}.")
    content = decompress(data, name, settings().object_bytes_max)
    if _is_blank(content[:_HEAD_BYTES]) and _is_blank(content):
        raise UnreadableLog("empty_object", f"{name}: empty. Upload it again if the export was not.")
    adapter = known[format] if format != "auto" else _recognize(content, name)
    return adapter.parse(content, name, hints)


def _is_blank(content: bytes) -> bool:
    return not content.removeprefix(b"\xef\xbb\xbf").strip(b"\0 \t\r\n")


def _recognize(content: bytes, name: str) -> Adapter:
    """Return the adapter of the content.

    Raises:
        UnreadableLog: unknown_format or wrong_encoding, with what was found and what is supported.
    """
    if not canonical.recognizes_parquet(content):
        _check_text(content, name)
    for adapter in ADAPTERS:
        if adapter.recognizes(content):
            return adapter
    raise _unknown(name, _describe(content))


def _check_text(content: bytes, name: str) -> None:
    head = content[:_HEAD_BYTES]
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or head.count(0) > _UTF16_ZERO_SHARE * len(head):
        codec = "utf-16-be" if head.startswith(b"\xfe\xff") or head[:1] == b"\0" else "utf-16-le"
        text = head.decode(codec, errors="replace").lstrip("\ufeff")
        if sum(character.isascii() and character.isprintable() for character in text) > 0.8 * len(text):
            raise UnreadableLog(
                "wrong_encoding", f"{name}: UTF-16 text, found {text[:_SHOWN_CHARACTERS]!r}. Save it as UTF-8."
            )
    for magic, what in _KNOWN_BINARIES.items():
        if head.startswith(magic):
            raise _unknown(name, what)
    written = head.replace(b"\0", b"")
    if len(written) - len(written.translate(None, _CONTROL)) > _CONTROL_SHARE_MAX * len(written):
        raise _unknown(name, f"binary data beginning with {head[:8].hex(' ')}")


def _describe(content: bytes) -> str:
    """Say what a text of an unknown format looks like."""
    lines = split_lines(content[:_HEAD_BYTES])
    first = lines.text(0).strip() if len(lines) else ""
    if first.startswith(("{", "[")):
        return f"JSON beginning with {first[:_SHOWN_CHARACTERS]!r} (one canonical object a line is wanted)"
    delimiter = max(",;\t", key=first.count)
    try:
        fields = next(csv.reader([first], delimiter=delimiter), [])
    except csv.Error:
        fields = [first]
    shown = ", ".join(repr(field.strip()[:_SHOWN_CHARACTERS]) for field in fields[:_SHOWN_FIELDS])
    return f"text of {len(fields)} fields beginning with {shown}"


def _unknown(name: str, found: str) -> UnreadableLog:
    titles = ", ".join(adapter.title for adapter in ADAPTERS)
    return UnreadableLog("unknown_format", f"{name}: no known log format; found {found}. Supported are {titles}.")
