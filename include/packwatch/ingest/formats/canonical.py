"""The canonical log as Parquet and CSV, read and written; JSON Lines is in `json_lines`.

Reading forgives what a producer may vary (order of columns, unknown columns, units of time), but judges no value.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from packwatch.config import settings
from packwatch.errors import UnreadableLog, UsageError
from packwatch.ingest.formats import json_lines
from packwatch.ingest.formats.convert import NULL_SPELLINGS, WrongTypeError, convert
from packwatch.ingest.formats.lines import Lines, check_utf8, split_lines
from packwatch.ingest.formats.parsed import ParsedLog, Reject, assemble, require_columns
from packwatch.schema import BY_NAME, IDENTITY, LISTS, LOG_SCHEMA, SIGNALS, TIMESTAMP, conform

PARQUET_MAGIC = b"PAR1"
# Columns whose name alone shows that a log is canonical; vin, make, model and year occur in any list of cars.
TELLING = {"recorded_at", *SIGNALS}
_READ_AS_TEXT = {"recorded_at", *LISTS, *IDENTITY, "charge_state"} - {"year"}
# No header is longer; recognition looks no further.
_HEADER_BYTES_MAX = 1 << 16
_COMPRESSION = {".gz": "gzip", ".zst": "zstd"}


def recognizes_parquet(data: bytes) -> bool:
    """Tell whether `data` is a Parquet file, whole or not."""
    return data.startswith(PARQUET_MAGIC)


def recognizes_csv(data: bytes) -> bool:
    """Tell whether `data` is CSV whose header holds a column that only canonical logs have."""
    return bool(TELLING & set(_header(split_lines(data[:_HEADER_BYTES_MAX]))))


def parse_parquet(data: bytes, name: str, hints: Mapping[str, str]) -> ParsedLog:
    """Read a canonical Parquet log.

    Raises:
        UnreadableLog: corrupt_parquet, too_large, missing_columns, wrong_column_type or header_without_rows.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        present = [column for column in file.schema_arrow.names if column in LOG_SCHEMA.names]
        require_columns(present, name, hints)
        groups = range(file.metadata.num_row_groups)
        unpacked = sum(file.metadata.row_group(group).total_byte_size for group in groups)
        if unpacked > settings().object_bytes_max:
            raise UnreadableLog(
                "too_large", f"{name}: {unpacked} bytes when unpacked. Split it, or raise PACKWATCH_OBJECT_BYTES_MAX."
            )
        table = file.read(columns=present)
        table.validate(full=True)  # a damaged page may decode to text that is none
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnreadableLog("corrupt_parquet", f"{name}: a damaged Parquet file ({error}). Upload it again.") from error
    if not len(table):
        raise _no_rows(name)
    return _finish("canonical-parquet", name, table, np.arange(1, len(table) + 1), [], hints, None)


def parse_csv(data: bytes, name: str, hints: Mapping[str, str]) -> ParsedLog:
    """Read a canonical CSV log: UTF-8, comma, one header line, lists as numbers with blanks between.

    Raises:
        UnreadableLog: wrong_encoding, missing_columns, duplicate_columns or header_without_rows.
    """
    check_utf8(data, name)
    lines = split_lines(data)
    header = _header(lines)
    present = [column for column in header if column in LOG_SCHEMA.names]
    require_columns(present, name, hints)
    if len(lines) < 2:
        raise _no_rows(name)
    table, source_row, rejects = _read_csv(lines, header, name)
    return _finish("canonical-csv", name, table.select(present), source_row, rejects, hints, lines)


def write_log(table: pa.Table, name: str) -> bytes:
    """Return `table` as a canonical log in the format that the extension of `name` says.

    Args:
        table: columns of `schema.LOG_SCHEMA`; absent ones are written as missing, others (provenance) left out.
        name: ends in .parquet, .csv or .jsonl, with .gz or .zst behind it for compression.

    Raises:
        UsageError: another extension.
    """
    suffixes = PurePosixPath(name).suffixes
    packing = _COMPRESSION.get(suffixes[-1]) if suffixes else None
    kind = suffixes[-2] if packing and len(suffixes) > 1 else (suffixes[-1] if suffixes else "")
    writers = {".parquet": _write_parquet, ".csv": _write_csv, ".jsonl": json_lines.write}
    if kind not in writers:
        raise UsageError(
            f"{name}: a log is written as {', '.join(writers)}, each with .gz or .zst behind it or without."
        )
    data = writers[kind](conform(table, LOG_SCHEMA))
    if packing == "gzip":
        return gzip.compress(data, mtime=0)  # no clock in the file: the same table gives the same bytes
    return pa.compress(data, codec="zstd", asbytes=True) if packing == "zstd" else data


def _write_parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _write_csv(table: pa.Table) -> bytes:
    for position, field in enumerate(table.schema):
        if field.name in LISTS:
            table = table.set_column(position, field.name, _join_lists(table[field.name]))
        elif field.type == TIMESTAMP:
            table = table.set_column(position, field.name, pc.strftime(table[field.name], format="%Y-%m-%dT%H:%M:%SZ"))
    buffer = io.BytesIO()
    pyarrow.csv.write_csv(table, buffer, pyarrow.csv.WriteOptions(quoting_style="needed"))
    return buffer.getvalue()


def _join_lists(column: pa.ChunkedArray) -> pa.Array:
    lists = column.combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    words = pc.fill_null(lists.flatten().cast(pa.string()), "nan")
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    mask = lists.is_null() if len(lists) else None
    return pc.binary_join(pa.ListArray.from_arrays(offsets, words, mask=mask), " ")


def _header(lines: Lines) -> list[str]:
    """Return the stripped names in the first line."""
    if not len(lines):
        return []
    try:
        return [field.strip() for field in next(csv.reader([lines.text(0)]), [])]
    except csv.Error:  # one field beyond any sense
        return []


def _read_csv(lines: Lines, header: list[str], name: str) -> tuple[pa.Table, np.ndarray, list[Reject]]:
    """Read the data lines; returns the table, the row number of each of its rows, and the lines that are broken."""
    # A quote that is opened and not closed (a torn line) would swallow the lines after it.
    torn = lines.count('"') % 2 == 1
    torn[0] = False
    open_quotes = [Reject(int(line), "open_quote", lines.text(line)) for line in np.flatnonzero(torn)]
    data = lines.join(~torn)
    line_numbers = np.flatnonzero(~torn)
    for quote in ('"', False):
        for typed in (True, False):
            try:
                table, broken = _try_csv(data, header, typed=typed, quote=quote)
            except pa.ArrowInvalid:
                # Not every value has its type, or quotes run over the end of a line: read with fewer demands.
                continue
            kept = np.ones(len(line_numbers), dtype=bool)
            kept[[0, *(reject.source_row for reject in broken)]] = False
            if np.count_nonzero(kept) == len(table):
                numbered = [replace(reject, source_row=int(line_numbers[reject.source_row])) for reject in broken]
                return table, line_numbers[kept], [*numbered, *open_quotes]
    raise UnreadableLog("unreadable_csv", f"{name}: the lines cannot be divided into fields. Check quotes and commas.")


def _try_csv(data: bytes, header: list[str], *, typed: bool, quote: str | bool) -> tuple[pa.Table, list[Reject]]:
    broken: list[Reject] = []

    def keep(row: pyarrow.csv.InvalidRow) -> str:
        # The reader counts the header as row 1, so its number less one is the line it was given.
        broken.append(Reject(row.number - 1, "field_count", row.text))
        return "skip"

    # Unknown columns may repeat a name; the reader needs distinct ones.
    names = [field if field in BY_NAME else f"{position}: {field}" for position, field in enumerate(header)]
    types = {field: pa.string() if field in _READ_AS_TEXT or not typed else pa.float64() for field in names}
    table = pyarrow.csv.read_csv(
        pa.BufferReader(data),
        # One thread, because only then the reader tells the numbers of broken rows.
        read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=1, use_threads=False, block_size=1 << 23),
        parse_options=pyarrow.csv.ParseOptions(quote_char=quote, invalid_row_handler=keep),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=types,
            include_columns=[field for field in names if field in BY_NAME],
            null_values=NULL_SPELLINGS,
            strings_can_be_null=True,
        ),
    )
    return table, broken


def _finish(
    format: str,
    name: str,
    table: pa.Table,
    source_row: np.ndarray,
    rejects: list[Reject],
    hints: Mapping[str, str],
    lines: Lines | None,
) -> ParsedLog:
    """Convert every column and set aside the rows that hold text where a number belongs."""
    columns, bad = convert_columns(table, name)
    rows = np.flatnonzero(bad)
    if len(rows):
        found = [
            Reject(
                int(source_row[row]), "unreadable_number", lines.text(source_row[row]) if lines else _show(table, row)
            )
            for row in rows.tolist()
        ]
        rejects = [*rejects, *found]
        columns = {column: values.filter(pa.array(~bad)) for column, values in columns.items()}
    return assemble(format, name, columns, source_row[~bad], rejects, hints)


def convert_columns(table: pa.Table, name: str) -> tuple[dict[str, pa.Array], np.ndarray]:
    """Convert the columns of `table`; returns them and which rows hold something unreadable.

    Raises:
        UnreadableLog: wrong_column_type.
    """
    columns, bad = {}, np.zeros(len(table), dtype=bool)
    for column in table.column_names:
        try:
            columns[column], unreadable = convert(column, table[column])
        except WrongTypeError as error:
            raise UnreadableLog(
                "wrong_column_type", f"{name}: column {error}. The data dictionary lists the types."
            ) from error
        bad |= unreadable
    return columns, bad


def _show(table: pa.Table, row: int) -> str:
    return str(
        {column: values[0] for column, values in table.slice(row, 1).to_pydict().items() if values[0] is not None}
    )


def _no_rows(name: str) -> UnreadableLog:
    return UnreadableLog("header_without_rows", f"{name}: it names columns but holds no rows. Check the export.")
