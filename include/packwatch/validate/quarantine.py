"""The quarantine: every row that may not go on, with its reasons, where it came from and what it held."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from packwatch.ingest.formats.parsed import RAW_CHARACTERS_MAX
from packwatch.schema import LISTS, LOG_SCHEMA
from packwatch.validate.rules import RuleHits

# One row a quarantined row. `reason` is the first broken rule of the table (or why the row could not be read),
# `reasons` are all of them. `raw` identifies the vehicle: the quarantine zone is as sensitive as the raw zone.
QUARANTINE_SCHEMA = pa.schema(
    [
        ("source_object", pa.string()),
        ("source_row", pa.int64()),
        ("vehicle_id", pa.string()),
        ("log_date", pa.date32()),
        ("reason", pa.string()),
        ("reasons", pa.string()),
        ("raw", pa.string()),
    ]
)

# Texts are made for this many rows of a batch at most, so that a batch that is all bad costs 0.4 GB and not all memory.
# The rows after them keep everything else, and the raw zone still holds their object.
RAW_ROWS_MAX = 200_000


def broken_rows(
    rows: pa.Table, hits: RuleHits, vehicle_ids: pd.Series, log_dates: pa.Array, raw_rows_max: int = RAW_ROWS_MAX
) -> pa.Table:
    """Return the quarantine records of the rows that broke an error.

    Args:
        rows: the checked rows, schema.PARSED_SCHEMA.
        hits: their row mask.
        vehicle_ids: vehicle of each row, null where its identity is in doubt.
        log_dates: day of each row, null where its time is in doubt.
        raw_rows_max: how many rows get their values written out; `raw` is null after them.
    """
    broken = rows.filter(pa.array(hits.broken))
    reason, reasons = _reasons(hits)
    raw = [raw_text(broken.slice(0, raw_rows_max)), pa.nulls(max(len(broken) - raw_rows_max, 0), pa.string())]
    columns = [
        broken["source_object"],
        broken["source_row"],
        pa.array(vehicle_ids[hits.broken].astype("str"), pa.string(), from_pandas=True),
        log_dates.filter(pa.array(hits.broken)),
        reason,
        reasons,
        pa.chunked_array(raw),
    ]
    return pa.table(columns, schema=QUARANTINE_SCHEMA)


def unreadable_rows(rejects: pa.Table, owners: pd.DataFrame) -> pa.Table:
    """Return the quarantine records of the rows that could not be read at all.

    Args:
        rejects: columns source_object, source_row, reason, raw.
        owners: indexed by source_object, columns vehicle_id and log_date: the vehicle and the day of an object that
            has just one of them, so that a request to erase a vehicle finds its unreadable rows too.
    """
    owner = owners.reindex(rejects["source_object"].to_pandas())
    columns = [
        rejects["source_object"],
        rejects["source_row"],
        pa.array(owner["vehicle_id"], pa.string(), from_pandas=True),
        pa.array(owner["log_date"], pa.date32(), from_pandas=True),
        rejects["reason"],
        rejects["reason"],
        pc.utf8_slice_codeunits(rejects["raw"], 0, RAW_CHARACTERS_MAX),
    ]
    return pa.table(columns, schema=QUARANTINE_SCHEMA)


def _reasons(hits: RuleHits) -> tuple[pa.Array, pa.Array]:
    """Return the first and all the broken errors of each broken row; texts are made for distinct combinations only."""
    errors = [k for k, rule in enumerate(hits.rules) if rule.severity == "error"]
    codes = np.array([hits.rules[k].code for k in errors], dtype=object)
    # Whether a row broke each error, packed to bytes and seen as one value, so that equal rows are found by sorting.
    packed = np.packbits(hits.matrix[hits.broken][:, errors], axis=1)
    keys = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    patterns = np.unpackbits(packed[first], axis=1, count=len(errors)).astype(bool)
    texts = pa.array([";".join(codes[pattern]) for pattern in patterns], pa.string()).take(pa.array(inverse))
    leading = pa.array(codes, pa.string()).take(pa.array(patterns.argmax(axis=1)[inverse]))
    return leading, texts


def raw_text(rows: pa.Table) -> pa.Array:
    """Return the values of each row as JSON text, without nulls and provenance, cut to `RAW_CHARACTERS_MAX` characters.

    NaN and infinity, which JSON lacks and which may be why the row is here, are written as text. Lists come last: a
    row of a hundred cells is some 1,500 characters, and a cut should spare the single values.
    """
    names = [name for name in LOG_SCHEMA.names if name not in LISTS] + list(LISTS)
    # Members of null are blanked here: joining with null_handling="skip" drops a row whose members are all null.
    members = [
        pc.binary_join_element_wise(f'"{name}":', _json(rows[name].combine_chunks()), ",", "").fill_null("")
        for name in names
    ]
    body = pc.utf8_rtrim(pc.binary_join_element_wise(*members, ""), ",")
    return pc.utf8_slice_codeunits(pc.binary_join_element_wise("{", body, "}", ""), 0, RAW_CHARACTERS_MAX)


def _json(values: pa.Array) -> pa.Array:
    """Return each value of a column as JSON text, null for null."""
    if pa.types.is_string(values.type):
        encoded = values.dictionary_encode()
        texts = [json.dumps(text, ensure_ascii=False) for text in encoded.dictionary.to_pylist()]
        return pa.array(texts, pa.string()).take(encoded.indices)
    if pa.types.is_list(values.type):
        elements = _json(pc.list_flatten(values)).fill_null("null")
        lengths = pc.list_value_length(values).fill_null(0).to_numpy(zero_copy_only=False)
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        joined = pc.binary_join(pa.ListArray.from_arrays(offsets, elements), ",")
        text = pc.binary_join_element_wise("[", joined, "]", "")
        return pc.if_else(values.is_valid(), text, pa.scalar(None, pa.string()))
    if pa.types.is_timestamp(values.type):
        text = pc.binary_join_element_wise('"', values.cast(pa.string()), '"', "")
        return pc.if_else(values.is_valid(), text, pa.scalar(None, pa.string()))
    text = values.cast(pa.string())
    if pa.types.is_floating(values.type):
        quoted = pc.binary_join_element_wise('"', text, '"', "")
        return pc.if_else(pc.is_finite(values), text, quoted)
    return text
