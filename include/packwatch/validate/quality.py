"""How good the data of a vehicle's day is: counts of rows, and a score from 0 to 100 with the parts it is made of."""

from __future__ import annotations

import numpy as np
import pandas as pd

from packwatch.validate.rules import RuleHits

# What the analysis needs, as columns of the checkable frame (a list of cells or probes stands in for its extremes).
EXPECTED_SIGNALS = (
    "pack_voltage_v",
    "pack_current_a",
    "soc_percent",
    "odometer_km",
    "cell_lowest_v",
    "cell_highest_v",
    "temperature_lowest_c",
    "temperature_highest_c",
)

KEYS = ["source_object", "vehicle_id", "log_date"]
COUNTS = ["rows", "rows_quarantined", "rows_warned", "signals_present", "signals_expected"]

# A warning casts doubt on a row that is used all the same: a day that is all warnings keeps half its score.
PLAUSIBILITY_WEIGHT = 0.5


def count_rows(checkable: pd.DataFrame, hits: RuleHits, log_dates: np.ndarray) -> pd.DataFrame:
    """Count rows and signals per source object, vehicle and log date (any of the last two may be null).

    Returns:
        Columns `KEYS` (log_date as datetime64[s]) and `COUNTS`: rows; rows_quarantined; rows_warned (kept, but with a
        warning); signals_present and signals_expected (values of `EXPECTED_SIGNALS` in kept rows, and how many there
        should be).
    """
    kept = ~hits.broken
    present = np.zeros(len(checkable), dtype=np.int64)
    for name in EXPECTED_SIGNALS:
        present += checkable[name].notna().to_numpy()
    frame = pd.DataFrame(
        {
            "source_object": checkable["source_object"],
            "vehicle_id": checkable["vehicle_id"],
            "log_date": log_dates,
            "rows": np.ones(len(checkable), dtype=np.int64),
            "rows_quarantined": hits.broken.astype(np.int64),
            "rows_warned": hits.warned.astype(np.int64),
            "signals_present": present * kept,
            "signals_expected": len(EXPECTED_SIGNALS) * kept.astype(np.int64),
        }
    )
    counts = frame.groupby(KEYS, observed=True, dropna=False, sort=False)[COUNTS].sum().reset_index()
    return counts.astype({"source_object": "str", "vehicle_id": "str"})


def add_up(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Add the counts of several parts, so that each source object, vehicle and log date has one row, in this order."""
    return pd.concat(parts, ignore_index=True).groupby(KEYS, dropna=False)[COUNTS].sum().reset_index()


def by_day(counts: pd.DataFrame) -> pd.DataFrame:
    """Sum counts per vehicle and log date, as `score` takes them; rows whose vehicle or day is unknown are left out.

    Returns:
        Columns vehicle_id, log_date, rows_in, rows_quarantined, rows_warned, rows_duplicate (0: not yet looked for) and
        completeness (share of `EXPECTED_SIGNALS` that kept rows hold, NaN where no row is kept).
    """
    known = counts.dropna(subset=["vehicle_id", "log_date"])
    days = known.groupby(["vehicle_id", "log_date"])[COUNTS].sum().reset_index()
    completeness = days["signals_present"] / days["signals_expected"].where(days["signals_expected"] > 0)
    days = days.assign(rows_duplicate=0, completeness=completeness).rename(columns={"rows": "rows_in"})
    return days.drop(columns=["signals_present", "signals_expected"])


def score(counts: pd.DataFrame) -> pd.DataFrame:
    """Score the data of each vehicle's day.

        validity_percent      100 x (1 - quarantined rows / rows in)
        uniqueness_percent    100 x (1 - duplicate rows / kept rows)
        plausibility_percent  100 x (1 - warned rows / kept rows)
        completeness_percent  100 x share of expected values that are there
        quality_score         100 x validity x uniqueness x completeness x (0.5 + 0.5 x plausibility), parts as shares

    The parts multiply because a day is only as usable as its worst part: all rows valid and half the signals missing is
    half a day. A day with no kept row scores 0 and is 0 % complete; no kept row of it is a duplicate or implausible.

    Args:
        counts: one row a vehicle and day, with rows_in, rows_quarantined, rows_warned, rows_duplicate (kept rows that
            repeat another) and completeness (share, 0 to 1; NaN where no row is kept). Other columns are carried along.

    Returns:
        `counts` and the five columns above.
    """
    kept = (counts["rows_in"] - counts["rows_quarantined"]).astype("float64")
    kept = kept.where(kept > 0)
    validity = (1 - counts["rows_quarantined"] / counts["rows_in"].where(counts["rows_in"] > 0)).fillna(0.0)
    uniqueness = (1 - counts["rows_duplicate"] / kept).fillna(1.0)
    plausibility = (1 - counts["rows_warned"] / kept).fillna(1.0)
    completeness = counts["completeness"].where(kept.notna()).fillna(0.0)
    weight = 1 - PLAUSIBILITY_WEIGHT + PLAUSIBILITY_WEIGHT * plausibility
    return counts.assign(
        validity_percent=100 * validity,
        uniqueness_percent=100 * uniqueness,
        plausibility_percent=100 * plausibility,
        completeness_percent=100 * completeness,
        quality_score=100 * validity * uniqueness * completeness * weight,
    )
