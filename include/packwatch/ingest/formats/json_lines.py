"""The canonical log as JSON Lines: one object a line, keys as in the schema, missing values left out or null."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from packwatch.ingest.formats.convert import convert
from packwatch.ingest.formats.lines import Lines, check_utf8, split_lines
from packwatch.ingest.formats.parsed import ParsedLog, Reject, assemble, require_columns
from packwatch.schema import LISTS, LOG_SCHEMA, SIGNALS, TIMESTAMP

_TELLING = {"recorded_at", *SIGNALS}
# How many lines recognition looks at: a broken first line must not hide the format.
_LOOKED_AT = 20
# Lines read together once a file turned out to hold broken ones; only such a group is read line by line.
_GROUP = 1000
# Arrow reads blocks in parallel; a single object must fit into one.
_BLOCK_BYTES = 1 << 25
# A value that can stand for no number, in a column of text about to be read as numbers.
_UNREADABLE = "unreadable"

_TEXTS = {field.name for field in LOG_SCHEMA if pa.types.is_string(field.type)}

_Part = tuple[dict[str, pa.Array], np.ndarray, list[Reject]]


def recognizes(data: bytes) -> bool:
    """Tell whether one of the first lines is an object with a key that only canonical logs have."""
    head = data[: 1 << 20]
    if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return False
    return bool(_TELLING & _keys(split_lines(head)))


def parse(data: bytes, name: str, hints: Mapping[str, str]) -> ParsedLog:
    """Read a canonical JSON Lines log (UTF-8).

    A line that is no JSON object is set aside as not_json, one with text where a number belongs as unreadable_number.

    Raises:
        UnreadableLog: wrong_encoding or missing_columns.
    """
    check_utf8(data, name)
    lines = split_lines(data)
    parts = list(_read(lines))
    # A key counts as present when it holds anything, or when the first lines have it although without a value.
    found = {column for columns, _, _ in parts for column in columns} | _keys(lines)
    present = [column for column in LOG_SCHEMA.names if column in found]
    require_columns(present, name, hints)
    filled = {
        column: pa.chunked_array(
            [columns.get(column, pa.nulls(len(rows), LOG_SCHEMA.field(column).type)) for columns, rows, _ in parts],
            LOG_SCHEMA.field(column).type,
        ).combine_chunks()
        for column in present
    }
    rejects = [reject for _, _, broken in parts for reject in broken]
    return assemble("canonical-jsonl", name, filled, np.concatenate([rows for _, rows, _ in parts]), rejects, hints)


def write(table: pa.Table) -> bytes:
    """Return `table` (`schema.LOG_SCHEMA`) as JSON Lines, built column by column; missing values are left out."""
    members = [
        pc.binary_join_element_wise(f'"{name}":', _as_json(table[name].combine_chunks()), "")
        for name in table.column_names
    ]
    bodies = pc.binary_join_element_wise(*members, ",", null_handling="skip")
    lines = pc.binary_join_element_wise("{", bodies, "}\n", "")
    return b"" if not len(lines) else lines.buffers()[2].to_pybytes()  # the texts lie end to end already


def _keys(lines: Lines) -> set[str]:
    """Return the keys of the objects in the first lines."""
    objects = (_object(lines.text(line)) for line in range(min(len(lines), _LOOKED_AT)))
    return {key for found in objects if found is not None for key in found}


def _as_json(column: pa.Array) -> pa.Array:
    """Return each value as JSON text; null, and a number that is not finite, stays null."""
    kind = column.type
    if kind == TIMESTAMP:
        return pc.binary_join_element_wise('"', pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ"), '"', "")
    if pa.types.is_string(kind):
        distinct = column.dictionary_encode()
        quoted = pa.array(
            [json.dumps(value, ensure_ascii=False) for value in distinct.dictionary.to_pylist()], pa.string()
        )
        return quoted.take(distinct.indices)
    if pa.types.is_list(kind):
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        words = pc.fill_null(_as_json(column.flatten()), "null")
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
        mask = column.is_null() if len(column) else None
        return pc.binary_join_element_wise(
            "[", pc.binary_join(pa.ListArray.from_arrays(offsets, words, mask=mask), ","), "]", ""
        )
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, kind))
    return column.cast(pa.string())


def _read(lines: Lines) -> Iterator[_Part]:
    """Read all lines at once when they allow it, else group by group, and only broken groups line by line."""
    whole = _fast(lines, 0, len(lines))
    if whole is not None:
        yield whole
        return
    for first in range(0, len(lines), _GROUP):
        last = min(first + _GROUP, len(lines))
        yield _fast(lines, first, last) or _slow(lines, first, last)


def _fast(lines: Lines, first: int, last: int) -> _Part | None:
    """Read the lines from `first` up to `last` with Arrow; None when one of them is broken or mixes types."""
    data = lines.data[lines.starts[first] : lines.ends[last - 1] + 1]
    fields = {field.name: field.type for field in LOG_SCHEMA}
    # Producers write the time as text or as a number; Arrow must be told which. Numbers come with or without fraction.
    for time_type in (pa.string(), pa.int64(), pa.float64()):
        schema = pa.schema(fields | {"recorded_at": time_type, "year": pa.int64()})
        try:
            table = pyarrow.json.read_json(
                pa.BufferReader(data),
                read_options=pyarrow.json.ReadOptions(block_size=min(len(data), _BLOCK_BYTES)),
                parse_options=pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
            )
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
        # Two objects in one line, or the word null in place of one, are for the careful reader.
        if len(table) != last - first or _has_empty_rows(table):
            return None
        columns = _convert(table)
        return None if columns is None else (columns, np.arange(first + 1, last + 1), [])
    return None


def _has_empty_rows(table: pa.Table) -> bool:
    filled = [column.is_valid() for column in table.columns if column.null_count < len(table)]
    return not filled or not pc.all(functools.reduce(pc.or_, filled)).as_py()


def _convert(table: pa.Table) -> dict[str, pa.Array] | None:
    """Convert the columns that hold anything; None when a value cannot be read."""
    columns = {}
    for name in table.column_names:
        if table[name].null_count == len(table):
            continue
        columns[name], bad = convert(name, table[name])
        if bad.any():
            return None
    return columns


def _slow(lines: Lines, first: int, last: int) -> _Part:
    """Read lines one by one, setting aside each that is broken."""
    rejects: list[Reject] = []
    kept: list[int] = []
    values: dict[str, list[str | None]] = {name: [] for name in LOG_SCHEMA.names}
    for line in range(first, last):
        found = _object(lines.text(line))
        if found is None:
            rejects.append(Reject(line + 1, "not_json", lines.text(line)))
            continue
        kept.append(line)
        for name, column in values.items():
            column.append(_as_text(name, found.get(name)))
    rows, columns, bad = np.array(kept, dtype=np.int64), {}, np.zeros(len(kept), dtype=bool)
    for name, column in values.items():
        if any(value is not None for value in column):
            columns[name], unreadable = convert(name, pa.array(column, pa.string()))
            bad |= unreadable
    rejects += [Reject(int(row) + 1, "unreadable_number", lines.text(row)) for row in rows[bad]]
    return {name: column.filter(pa.array(~bad)) for name, column in columns.items()}, rows[~bad] + 1, rejects


def _object(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _as_text(name: str, value: Any) -> str | None:
    """Write one JSON value as the text from which the column is converted."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and name in LISTS:
        return " ".join("nan" if item is None else _as_text("", item) or _UNREADABLE for item in value)
    if isinstance(value, bool | dict | list) or name in LISTS:
        return None if name in _TEXTS else _UNREADABLE
    return repr(value)
