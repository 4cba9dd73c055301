"""What the rules share: the evidence they look at, and the form in which they report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from packwatch.analyze.cells import CellReadings
from packwatch.analyze.conditioning import Booleans, Floats, Integers, Rows, Specs, Steps, VehicleDays
from packwatch.analyze.flows import Flows
from packwatch.analyze.frames import ANOMALY_COLUMNS, build_frame, empty_frame
from packwatch.analyze.ranges import range_sum, starts_of
from packwatch.ingest.identity import make_ids

WATCH, WARNING, CRITICAL, EMERGENCY = 1, 2, 3, 4

# A single odd reading proves nothing: a state must hold in this many rows and this share of the rows that can show it.
PERSISTENT_ROWS = 5
PERSISTENT_SHARE = 0.1

NOT_AN_ALARM = " Packwatch reads logs once a night: a nightly batch is not a safety alarm."


@dataclass(frozen=True)
class Evidence:
    """Everything a rule may look at. Rules judge each target vehicle-day by its own rows."""

    table: pa.Table
    rows: Rows
    steps: Steps
    flows: Flows
    specs: Specs
    readings: CellReadings
    names: npt.NDArray[np.object_]

    @property
    def group(self) -> Integers:
        """Place of each row's vehicle-day in the target days; -1 outside them."""
        return self.readings.buckets.day_of_row

    @property
    def days(self) -> VehicleDays:
        """The target vehicle-days."""
        return self.readings.buckets.days


@dataclass(frozen=True)
class Findings:
    """What one rule found: parallel columns, one entry a finding."""

    code: str
    day: Integers
    """Place in the target vehicle-days."""
    severity: Integers
    subject: list[str]
    first_row: Integers
    last_row: Integers
    row_count: Integers
    value: Floats
    unit: str
    normal_value: Floats
    limit_value: Floats
    message: list[str]
    action: list[str]


def fill_in(template: str, **columns: Iterable[object]) -> list[str]:
    """Fill `template` once a finding, from parallel columns."""
    names = list(columns)
    return [template.format(**dict(zip(names, values, strict=True))) for values in zip(*columns.values(), strict=True)]


def since(evidence: Evidence, rows: Integers) -> list[str]:
    """Return the instants of `rows` as people write them, for example 2026-11-22 10:05 UTC."""
    text = np.datetime_as_string(evidence.rows.time_ms[rows].astype("datetime64[ms]"), unit="m")
    return [instant.replace("T", " ") + " UTC" for instant in text.tolist()]


def is_persistent(count: Integers, of: Integers) -> Booleans:
    """Tell whether a state was seen often enough among the `of` rows that could show it."""
    return (count >= PERSISTENT_ROWS) & (count >= PERSISTENT_SHARE * of)


@dataclass(frozen=True)
class Marks:
    """Where flagged rows lie, one entry for each vehicle-day that has one."""

    day: Integers
    first_row: Integers
    last_row: Integers
    row_count: Integers
    begins: Integers
    ends: Integers
    """Range of the flagged rows of the day in `rows`."""
    rows: Integers


def mark_days(evidence: Evidence, flags: Booleans) -> Marks:
    """Gather flagged rows by target vehicle-day."""
    row = np.flatnonzero(flags)
    row = row[evidence.group[row] >= 0]
    day = evidence.group[row]
    begins, ends = starts_of(np.diff(day, prepend=-1) != 0)
    return Marks(day[begins], row[begins], row[ends - 1], ends - begins, begins, ends, row)


def confirmed(flags: Booleans, known: Booleans, group: Integers) -> Booleans:
    """Keep flagged rows whose neighbor among the known rows of the same group is flagged as well."""
    if not flags.any():
        return flags
    place = np.flatnonzero(known)
    flagged = flags[place]
    pair = flagged[1:] & flagged[:-1] & (group[place][1:] == group[place][:-1])
    kept = np.zeros(len(place), dtype=bool)
    kept[1:] |= pair
    kept[:-1] |= pair
    result = np.zeros(len(flags), dtype=bool)
    result[place] = kept
    return result


def count_by_day(evidence: Evidence, flags: Booleans) -> Integers:
    """Count flagged rows of each target vehicle-day."""
    return range_sum(flags, evidence.days.first, evidence.days.stop)


def anomaly_frame(evidence: Evidence, findings: Iterable[Findings]) -> pd.DataFrame:
    """Return all findings as a frame with the columns of `frames.ANOMALY_COLUMNS`.

    Of several findings with the same code and subject on a day the most severe stays.
    """
    parts = [_columns(evidence, found) for found in findings if len(found.day)]
    if not parts:
        return empty_frame(ANOMALY_COLUMNS)
    frame = pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)
    keys = ["vehicle_id", "log_date", "code", "subject"]
    frame = frame.sort_values([*keys, "severity"], ascending=[True] * 4 + [False], kind="stable")
    frame = frame.drop_duplicates(keys).reset_index(drop=True)
    text = np.datetime_as_string(frame["log_date"].to_numpy().astype("datetime64[D]")).tolist()
    frame["anomaly_id"] = make_ids(frame["vehicle_id"], text, frame["code"], frame["subject"])
    return build_frame({name: frame[name] for name in ANOMALY_COLUMNS}, ANOMALY_COLUMNS)


def _columns(evidence: Evidence, found: Findings) -> Mapping[str, npt.ArrayLike]:
    return {
        "vehicle_id": evidence.names[evidence.days.vehicle[found.day]],
        "log_date": evidence.days.day[found.day],
        "code": found.code,
        "severity": found.severity,
        "subject": found.subject,
        "started_at": evidence.rows.time_ms[found.first_row],
        "ended_at": evidence.rows.time_ms[found.last_row],
        "row_count": found.row_count,
        "value": found.value,
        "unit": found.unit,
        "normal_value": found.normal_value,
        "limit_value": found.limit_value,
        "message": found.message,
        "action": found.action,
    }
