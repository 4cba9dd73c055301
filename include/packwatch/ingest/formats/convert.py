"""Turn columns as they were written into canonical ones, whole columns at a time.

Each function returns the converted column and which rows hold something that cannot be read as such.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from packwatch.schema import BY_NAME, TIMESTAMP

# How logs write that a value is missing, in lower case.
NULL_WORDS = ("", "null", "nan", "none", "na", "n/a", "#n/a", "nil", "-")
# The same words as a CSV reader must see them.
NULL_SPELLINGS = [
    spelling for word in NULL_WORDS for spelling in dict.fromkeys((word, word.upper(), word.title(), "NaN"))
]

# Numbers of this size and above are epoch milliseconds, below it seconds: 1e11 s is the year 5138, 1e11 ms is 1973.
_EPOCH_MS_FROM = 1e11
# Above this, milliseconds are beyond the year 5138 too: neither unit gives a date, so the time is unreadable.
_EPOCH_UNREADABLE_FROM = 1e14
# A date and at least hours and minutes. A bare date is not a time of measurement.
_ISO_TIME = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}"
_NUMBER = r"^[+-]?\d{9,}(?:\.\d*)?$"

Converted = tuple[pa.Array, np.ndarray]


class WrongTypeError(TypeError):
    """A column of a typed format (Parquet) has a type that cannot mean what its name says."""


def convert(name: str, column: pa.Array | pa.ChunkedArray) -> Converted:
    """Convert the column `name` to its canonical type.

    Raises:
        WrongTypeError: the type cannot be converted, whatever the values.
    """
    kind = BY_NAME[name].type
    converter: Callable[[pa.Array], Converted]
    if pa.types.is_list(kind):
        converter = number_lists
    elif pa.types.is_timestamp(kind):
        converter = timestamps
    elif pa.types.is_integer(kind):
        converter = whole_numbers
    elif pa.types.is_floating(kind):
        converter = numbers
    else:
        converter = states if name == "charge_state" else texts
    plain = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(plain.type):
        plain = plain.dictionary_decode()
    if pa.types.is_null(plain.type):
        return pa.nulls(len(plain), kind), _none_bad(plain)
    try:
        return converter(plain)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise WrongTypeError(f"{name} is {plain.type}, wanted {kind} ({error})") from error


def numbers(column: pa.Array) -> Converted:
    """Convert to float64; NaN and the words for a missing value become null."""
    if _is_text(column):
        return _numbers_of_text(column)
    if pa.types.is_boolean(column.type):
        return pa.nulls(len(column), pa.float64()), pc.is_valid(column).to_numpy(zero_copy_only=False)
    return _nan_to_null(column.cast(pa.float64(), safe=False)), _none_bad(column)


def whole_numbers(column: pa.Array) -> Converted:
    """Convert to int16 (model years); a fraction or a number beyond the type cannot be read."""
    values, bad = numbers(column)
    plain = values.to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        whole = np.isfinite(plain) & (plain == np.round(plain)) & (np.abs(plain) < 2**15)
    given = values.is_valid().to_numpy(zero_copy_only=False)
    return pa.array(np.where(whole, plain, 0).astype(np.int16), mask=~whole), bad | (given & ~whole)


def number_lists(column: pa.Array) -> Converted:
    """Convert to lists of float32: from lists, or from text with blanks between the numbers.

    A list without any value is null.
    """
    if _is_text(column):
        trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()))
        missing = pc.fill_null(pc.is_in(pc.utf8_lower(trimmed), pa.array(NULL_WORDS)), True)
        column = pc.utf8_split_whitespace(pc.if_else(missing, pa.scalar(None, pa.string()), trimmed))
    elif not _is_list(column.type):
        raise WrongTypeError(f"lists are wanted, not {column.type}")
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    values, bad_value = numbers(column.flatten()) if lengths.any() else (pa.nulls(0, pa.float64()), np.zeros(0, bool))
    row = np.repeat(np.arange(len(column)), lengths)
    bad = np.bincount(row[bad_value], minlength=len(column)) > 0
    given = np.bincount(row[values.is_valid().to_numpy(zero_copy_only=False)], minlength=len(column)) > 0
    kept = values.filter(pa.array(given[row]))
    return make_lists(kept.cast(pa.float32(), safe=False), np.where(given, lengths, 0)), bad


def make_lists(values: pa.Array, lengths: np.ndarray) -> pa.Array:
    """Build lists of `lengths` from `values` laid end to end; length 0 gives null."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(lengths == 0))


def timestamps(column: pa.Array) -> Converted:
    """Convert to UTC milliseconds; what cannot be read becomes null and the row stays.

    Taken are timestamps (without a zone they are UTC), ISO 8601 text with an offset, with Z or without (UTC), and epoch
    seconds or milliseconds as numbers or digits.
    """
    if pa.types.is_timestamp(column.type):
        return column.cast(TIMESTAMP, safe=False), _none_bad(column)
    if _is_text(column):
        return _timestamps_of_text(column), _none_bad(column)
    if pa.types.is_date(column.type):
        return pa.nulls(len(column), TIMESTAMP), _none_bad(column)
    return epoch(numbers(column)[0].to_numpy(zero_copy_only=False)), _none_bad(column)


def epoch(values: np.ndarray) -> pa.Array:
    """Convert epoch seconds or milliseconds, told apart by their size, to UTC timestamps; NaN becomes null."""
    with np.errstate(invalid="ignore"):
        milliseconds = np.where(np.abs(values) >= _EPOCH_MS_FROM, values, values * 1000.0)
        readable = np.abs(values) < _EPOCH_UNREADABLE_FROM
    whole = np.where(readable, np.round(milliseconds), 0).astype(np.int64)
    return pa.array(whole, mask=~readable).cast(TIMESTAMP)


def texts(column: pa.Array) -> Converted:
    """Convert to text without blanks around it; empty text becomes null."""
    trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()))
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed), _none_bad(column)


def states(column: pa.Array) -> Converted:
    """Convert to lower-case text; empty text and words for a missing value become null."""
    lower = pc.utf8_lower(texts(column)[0])
    return pc.if_else(pc.is_in(lower, pa.array(NULL_WORDS)), pa.scalar(None, pa.string()), lower), _none_bad(column)


def _numbers_of_text(column: pa.Array) -> Converted:
    trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()))
    missing = pc.fill_null(pc.is_in(pc.utf8_lower(trimmed), pa.array(NULL_WORDS)), True)
    given = pc.if_else(missing, pa.scalar(None, pa.string()), trimmed)
    try:
        return _nan_to_null(given.cast(pa.float64())), _none_bad(column)
    except pa.ArrowInvalid:
        # At least one value is no number. pandas reads the others without giving up.
        values = pd.to_numeric(given.to_pandas(), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        bad = given.is_valid().to_numpy(zero_copy_only=False) & np.isnan(values)
        return pa.array(values, from_pandas=True), bad


def _timestamps_of_text(column: pa.Array) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()))
    try:
        # Arrow reads the usual form (with an offset, at most milliseconds) several times faster than pandas.
        return trimmed.cast(TIMESTAMP)
    except pa.ArrowInvalid:
        pass
    series = trimmed.to_pandas()
    iso = series.where(series.str.contains(_ISO_TIME, na=False))
    read = pd.to_datetime(iso, format="ISO8601", utc=True, errors="coerce")
    parsed = pa.array(read.dt.as_unit("us"), from_pandas=True).cast(TIMESTAMP, safe=False)
    digits = series.where(series.str.contains(_NUMBER, na=False))
    counted = epoch(pd.to_numeric(digits).to_numpy(dtype=np.float64, na_value=np.nan))
    return pc.coalesce(parsed, counted)


def _nan_to_null(values: pa.Array) -> pa.Array:
    return pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)


def _none_bad(column: pa.Array) -> np.ndarray:
    return np.zeros(len(column), dtype=bool)


def _is_text(column: pa.Array) -> bool:
    kind = column.type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
