"""What every adapter returns: the rows of one log in canonical columns, and the rows that could not be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from packwatch.errors import UnreadableLog
from packwatch.schema import IDENTITY, PARSED_SCHEMA, SIGNALS

REJECT_SCHEMA = pa.schema(
    [
        ("source_object", pa.string()),
        ("source_row", pa.int64()),
        ("reason", pa.string()),
        ("raw", pa.string()),
    ]
)
# Enough to see what is wrong with a row without copying a runaway line into the quarantine.
RAW_CHARACTERS_MAX = 2000


@dataclass(frozen=True)
class ParsedLog:
    """One log after reading; an object held `len(rows) + len(rejects)` rows.

    `rows` has `schema.PARSED_SCHEMA`: every row that could be read. Values may still break the rules, and recorded_at
    is null where the log's own time could not be read. `rejects` has `REJECT_SCHEMA`.
    """

    format: str
    rows: pa.Table
    rejects: pa.Table


@dataclass(frozen=True)
class Reject:
    """One row that could not be read: its number, the reason code and its text."""

    source_row: int
    reason: str
    raw: str


def assemble(
    format: str,
    name: str,
    columns: Mapping[str, pa.Array],
    source_row: np.ndarray,
    rejects: Sequence[Reject],
    hints: Mapping[str, str],
) -> ParsedLog:
    """Build the result of an adapter from its canonical `columns`; absent columns become null.

    `hints` fill vin, make, model and year where a row has none.
    """
    count = len(source_row)
    known = dict(columns) | {
        "source_object": pa.repeat(pa.scalar(name), count),
        "source_row": pa.array(source_row, pa.int64()),
    }
    filled = {field.name: known.get(field.name, pa.nulls(count, field.type)) for field in PARSED_SCHEMA}
    for identity in IDENTITY:
        hint = _hint(identity, hints, name)
        if hint is not None:
            filled[identity] = pc.fill_null(filled[identity], hint)
    ordered = sorted(rejects, key=lambda reject: reject.source_row)
    return ParsedLog(
        format=format,
        rows=pa.table([filled[field.name].cast(field.type) for field in PARSED_SCHEMA], schema=PARSED_SCHEMA),
        rejects=pa.table(
            {
                "source_object": pa.array([name] * len(ordered), pa.string()),
                "source_row": pa.array([reject.source_row for reject in ordered], pa.int64()),
                "reason": pa.array([reject.reason for reject in ordered], pa.string()),
                "raw": pa.array([reject.raw[:RAW_CHARACTERS_MAX] for reject in ordered], pa.string()),
            },
            schema=REJECT_SCHEMA,
        ),
    )


def require_columns(present: Sequence[str], name: str, hints: Mapping[str, str]) -> None:
    """Refuse a canonical log that could not describe a vehicle at a time.

    Raises:
        UnreadableLog: missing_columns or duplicate_columns, naming them.
    """
    twice = sorted({column for column in present if present.count(column) > 1})
    if twice:
        raise UnreadableLog(
            "duplicate_columns", f"{name}: these columns occur twice: {', '.join(twice)}. Keep one of each."
        )
    missing = [
        column for column in ("vin", "recorded_at") if column not in present and not hints.get(column, "").strip()
    ]
    if not set(present) & set(SIGNALS):
        missing.append("at least one signal (such as soc_percent or pack_voltage_v)")
    if missing:
        has = ", ".join(present) or "none of the canonical ones"
        raise UnreadableLog(
            "missing_columns",
            f"{name}: missing columns: {', '.join(missing)}; it has {has}. "
            "The data dictionary lists the canonical columns; the vin may also come from a path segment vin=…",
        )


def _hint(identity: str, hints: Mapping[str, str], name: str) -> pa.Scalar | None:
    """Return the hint for one identity column as a scalar of its type, None when there is none."""
    text = (hints.get(identity) or "").strip()
    if not text:
        return None
    kind = PARSED_SCHEMA.field(identity).type
    try:
        return pa.scalar(text, pa.string()).cast(kind)
    except pa.ArrowInvalid:
        raise UnreadableLog(
            "unreadable_hint", f"{name}: {identity}={text} is not a {kind}. Correct it where the upload is named."
        ) from None
