"""Check the rows of a batch: split them into clean and quarantined, count, and let the gate decide.

The batch is checked in parts of `CHUNK_ROWS` rows, so memory beyond the batch itself does not grow with it.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.api.types import union_categoricals

from packwatch import errors
from packwatch.ingest.formats.parsed import REJECT_SCHEMA
from packwatch.schema import CLEAN_SCHEMA, conform
from packwatch.validate import quality, quarantine
from packwatch.validate.derive import derive
from packwatch.validate.expectations import BROKEN_ROW, GateResult, count_violations, decide
from packwatch.validate.rules import RuleHits, row_mask

# A part's checkable frame is some 270 bytes a row, so about 140 MB.
CHUNK_ROWS = 500_000


@dataclass(frozen=True)
class BatchResult:
    """What became of a batch.

    clean: schema.CLEAN_SCHEMA, sorted by vehicle_id and otherwise in the order of the batch.
    quarantined: quarantine.QUARANTINE_SCHEMA, sorted by source_object and source_row.
    counts: per source_object, vehicle_id and log_date, see `quality.count_rows`; its rows add up to the rows in.
    rule_counts: source_object, code and rows, for every rule that was broken and every reason a row was unreadable.
    gate: the verdict. The caller decides what to do with a rejected batch, see `GateResult.raise_if_failed`.
    """

    clean: pa.Table
    quarantined: pa.Table
    counts: pd.DataFrame
    rule_counts: pd.DataFrame
    gate: GateResult


def validate_batch(
    parsed: pa.Table,
    rejects: pa.Table,
    arrival_day: dt.date,
    vehicles: pd.DataFrame,
    bad_share_max: float,
    engine: Literal["great_expectations", "mask"] = "great_expectations",
) -> BatchResult:
    """Check every row of a batch against every rule.

    Args:
        parsed: rows of schema.PARSED_SCHEMA, of any number of source objects.
        rejects: rows of the same objects that could not be read, `REJECT_SCHEMA`.
        arrival_day: the day (UTC) the batch was uploaded.
        vehicles: the types of the vehicles, see `derive`.
        bad_share_max: share of bad rows, 0 to 1, above which the gate fails.
        engine: what counts for the gate. Both give the same counts; Great Expectations takes seconds to import, which a
            look at one file on a laptop need not wait for.

    Raises:
        packwatch.errors.BooksDoNotBalance: a row was lost or invented.
    """
    parsed = conform(parsed)
    rejects = conform(rejects, REJECT_SCHEMA)
    totals: Counter[str] = Counter()
    quarantined: list[pa.Table] = []
    kept, vehicle_ids, counts, rule_counts = [], [], [], []
    for start in range(0, max(len(parsed), 1), CHUNK_ROWS):
        rows = parsed.slice(start, CHUNK_ROWS)
        checkable = derive(rows, vehicles, arrival_day)
        hits = row_mask(checkable)
        totals.update(_gate_counts(checkable, hits, engine))
        log_dates = _log_dates(checkable, hits, arrival_day)
        kept.append(~hits.broken)
        vehicle_ids.append(checkable["vehicle_id"].array)
        room = max(quarantine.RAW_ROWS_MAX - sum(len(part) for part in quarantined), 0)
        days = pa.array(log_dates).cast(pa.date32())
        quarantined.append(quarantine.broken_rows(rows, hits, checkable["vehicle_id"], days, room))
        counts.append(quality.count_rows(checkable, hits, log_dates))
        rule_counts.append(_rule_counts(checkable["source_object"], hits))

    per_day = quality.add_up(counts)
    owners = _owners(per_day)
    unreadable = quarantine.unreadable_rows(rejects, owners)
    per_day = quality.add_up([per_day, _count_unreadable(unreadable)])
    per_rule = _add_rejects(pd.concat(rule_counts, ignore_index=True), unreadable)
    per_object = per_day.groupby("source_object")[["rows", "rows_quarantined"]].sum().reset_index()
    objects = zip(
        per_object["source_object"], per_object["rows_quarantined"].tolist(), per_object["rows"].tolist(), strict=True
    )
    reasons = Counter(rejects["reason"].to_pylist())
    result = BatchResult(
        clean=_clean_rows(parsed, np.concatenate(kept), union_categoricals(vehicle_ids)),
        quarantined=pa.concat_tables([*quarantined, unreadable]).sort_by(
            [("source_object", "ascending"), ("source_row", "ascending")]
        ),
        counts=per_day.assign(log_date=_as_dates(per_day["log_date"])),
        rule_counts=per_rule,
        gate=decide(totals, bad_share_max, objects, reasons),
    )
    _check_books(parsed, rejects, result)
    return result


def _gate_counts(checkable: pd.DataFrame, hits: RuleHits, engine: str) -> dict[str, int]:
    """Count the broken rows of each rule with the chosen engine; both must agree."""
    masked = {rule.code: int(count) for rule, count in zip(hits.rules, hits.counts, strict=True)}
    masked[BROKEN_ROW.code] = int(hits.broken.sum())
    if engine == "mask":
        return masked
    counted = count_violations(checkable, hits)
    if counted != masked:
        differing = {code: (counted.get(code), masked[code]) for code in masked if counted.get(code) != masked[code]}
        raise errors.PackwatchError(
            f"Great Expectations and the row mask count differently (rule: expectation, mask): {differing}. "
            "Cure: install the version of great-expectations that requirements.txt names."
        )
    return counted


def _log_dates(checkable: pd.DataFrame, hits: RuleHits, arrival_day: dt.date) -> np.ndarray:
    """Return the day of each row (datetime64[s]), NaT where its time is missing or impossible."""
    doubtful = hits.of("missing_time", "time_too_early", "time_in_future")
    offset = np.where(doubtful, 0, checkable["log_days_after_arrival"].to_numpy()).astype(np.int64)
    days = np.datetime64(arrival_day, "D") + offset.astype("timedelta64[D]")
    return np.where(doubtful, np.datetime64("NaT"), days).astype("datetime64[s]")


def _clean_rows(rows: pa.Table, kept: np.ndarray, vehicle_ids: pd.Categorical) -> pa.Table:
    """Return the kept rows by vehicle, with the pseudonymous id instead of the identity.

    Leaving rows out and sorting are one step, a column at a time, so that at most one column is in memory twice.
    """
    names = vehicle_ids.categories.to_numpy(dtype=object)
    by_name = np.argsort(names)
    rank = np.empty(len(names), dtype=np.int64)
    rank[by_name] = np.arange(len(names))
    place = rank[vehicle_ids.codes[kept]]
    sorting = np.argsort(place, kind="stable")
    order = pa.array(np.flatnonzero(kept)[sorting])
    ids = pa.array(names[by_name], pa.string()).take(pa.array(place[sorting]))
    signals = [rows[name].combine_chunks().take(order) for name in CLEAN_SCHEMA.names if name != "vehicle_id"]
    return pa.table([ids, *signals], schema=CLEAN_SCHEMA)


def _rule_counts(source_objects: pd.Series, hits: RuleHits) -> pd.DataFrame:
    """Return source_object, code and rows for every rule that an object's rows broke."""
    names = source_objects.cat.categories
    codes = source_objects.cat.codes.to_numpy()
    parts = []
    for rule, broken, count in zip(hits.rules, hits.matrix.T, hits.counts, strict=True):
        if count:
            rows = np.bincount(codes[broken], minlength=len(names))
            parts.append(pd.DataFrame({"source_object": names, "code": rule.code, "rows": rows})[rows > 0])
    empty = pd.DataFrame({"source_object": [], "code": [], "rows": []})
    return pd.concat(parts) if parts else empty.astype({"source_object": "str", "code": "str", "rows": "int64"})


def _owners(per_day: pd.DataFrame) -> pd.DataFrame:
    """Return, by source object, its vehicle and its day, each null where it has none or several."""
    known = per_day.groupby("source_object")[["vehicle_id", "log_date"]]
    first, last = known.min(), known.max()
    return first.where(first == last)


def _count_unreadable(unreadable: pa.Table) -> pd.DataFrame:
    """Count unreadable rows as `quality.count_rows` does readable ones."""
    frame = unreadable.select(quality.KEYS).to_pandas()
    frame["log_date"] = frame["log_date"].astype("datetime64[s]")
    ones = np.ones(len(frame), dtype=np.int64)
    frame = frame.assign(rows=ones, rows_quarantined=ones, rows_warned=0, signals_present=0, signals_expected=0)
    return frame.astype({"source_object": "str", "vehicle_id": "str"})


def _add_rejects(rule_counts: pd.DataFrame, unreadable: pa.Table) -> pd.DataFrame:
    """Add the reasons of unreadable rows to the counts of the rules."""
    reasons = unreadable.select(["source_object", "reason"]).to_pandas().rename(columns={"reason": "code"})
    both = pd.concat([rule_counts, reasons.astype("str").assign(rows=np.int64(1))])
    return both.groupby(["source_object", "code"])["rows"].sum().reset_index()


def _as_dates(days: pd.Series) -> pd.Series:
    """Return days as datetime.date, None where missing."""
    return days.dt.date.astype(object).where(days.notna(), None)


def _check_books(parsed: pa.Table, rejects: pa.Table, result: BatchResult) -> None:
    """Compare the rows that came in with those that went out, for each source object."""
    rows_in, rows_out = Counter[str](), Counter[str]()
    for tally, tables in ((rows_in, (parsed, rejects)), (rows_out, (result.clean, result.quarantined))):
        for table in tables:
            found = pc.value_counts(table["source_object"])
            tally.update(dict(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True)))
    if rows_in != rows_out:
        wrong = {
            name: (rows_in[name], rows_out[name]) for name in rows_in | rows_out if rows_in[name] != rows_out[name]
        }
        raise errors.BooksDoNotBalance(
            f"rows in differ from clean + quarantined rows (object: in, out): {wrong}. "
            "Cure: this is a defect of the validation, not of the data; nothing of the batch may be loaded."
        )
