"""Health of each vehicle and day: a recursion from the last report, the day's statistics and its charges.

report(day) = f(last report, day, charges that ended on the day). All of f's memory is in the report's own columns, so
any division of the days into calls gives the same bits. Frames come in and go out here; `kalman` and `confidence` do
the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from packwatch.analyze.capacity import LFP_KNEE_SOC_PERCENT, SOC_END_SIGMA_LFP_PERCENT
from packwatch.assess import confidence, kalman
from packwatch.assess.kalman import DAYS_PER_YEAR, Floats
from packwatch.errors import UsageError
from packwatch.ingest.identity import make_ids

Integers = npt.NDArray[np.int64]

METHOD_VERSION = "capacity-1"
REFERENCE_SOURCE = "catalogue nominal"

# Relative error (1 sd) below which no single charge is believed: SoC at a full-charge anchor is good to 0.5 points.
OBSERVATION_SD_MIN = 0.005

# The rate is the fleet's while its variance is above this share of what it would be without data.
RATE_IS_PRIOR_SHARE = 0.8

_EPOCH = np.datetime64("1970-01-01", "D")
_STATE = ("state_soh", "state_rate_per_day", "state_var_soh", "state_cov", "state_var_rate")
_TOTALS = ("state_evidence", "observation_count", "charge_cycle_count", "equivalent_full_cycles", "odometer_km")
_PREVIOUS = ("vehicle_id", "report_date", "reference_capacity_ah", *_STATE, *_TOTALS)
_DAYS = ("vehicle_id", "log_date", "equivalent_full_cycles", "odometer_km", "bms_soh_percent")
_SESSIONS = (
    "session_id",
    "vehicle_id",
    "log_date",
    "kind",
    "ended_at",
    "soc_start_percent",
    "full_charge",
    "observed_capacity_ah",
    "observed_capacity_sigma_ah",
    "observed_soc_delta_percent",
)
_VEHICLES = ("vehicle_id", "year", "chemistry", "capacity_nominal_ah", "spec_source")


@dataclass(frozen=True)
class _Rows:
    """The days to report on, sorted by date and vehicle: one entry a report."""

    ids: pd.Index  # the vehicles, sorted; `vehicle` counts in it
    vehicle: Integers
    day: Integers  # days since 1970-01-01
    columns: dict[str, Floats]  # the other columns of `days`

    def dates(self) -> list[tuple[int, int, int]]:
        """Return each date (days since 1970-01-01) with the stretch of entries, begin to end, that is of it."""
        day, begin = np.unique(self.day, return_index=True)
        return list(zip(day.tolist(), begin.tolist(), [*begin.tolist(), len(self.day)][1:], strict=True))


@dataclass(frozen=True)
class _Specs:
    """What is known of each vehicle of `_Rows.ids`."""

    reference_ah: Floats  # NaN: the nominal capacity is not known
    born: Floats  # middle of the model year, days since 1970-01-01; NaN: unknown
    is_lfp: npt.NDArray[np.bool_]
    is_neutral: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Observations:
    """Capacity observations, sorted by row, and within a row in the order the charges ended."""

    row: Integers  # index in `_Rows`
    rank: Integers  # 0 for the first of its row
    measured: Floats  # % of the reference capacity
    relative_variance: Floats


def assess_days(
    previous: pd.DataFrame, days: pd.DataFrame, sessions: pd.DataFrame, vehicles: pd.DataFrame
) -> pd.DataFrame:
    """Report the health of every vehicle and day in `days`, sorted by date and vehicle.

    The order of the rows does not matter. A day without a charge moves the estimate along its trend. A vehicle whose
    reference capacity is not that of its previous report starts from the fleet's prior again, because a health in
    percent of another capacity cannot be carried on; counters run on.

    Args:
        previous: the last report of each vehicle before its first row in `days`; may be empty.
        days: analyze's days, once each vehicle and log_date.
        sessions: analyze's sessions; those of other vehicles or dates than in `days` are not counted.
        vehicles: vehicles with their specs; one that is missing is of unknown type.

    Raises:
        UsageError: a vehicle's day, or a session, comes twice, or a previous report is not older than the days.
    """
    rows = _rows(_with_columns(days, _DAYS))
    specs = _specs(_with_columns(vehicles, _VEHICLES), rows.ids)
    state, totals, last = _start(_with_columns(previous, _PREVIOUS), rows, specs)
    charges = _charges(_with_columns(sessions, _SESSIONS), rows)
    charge_count = np.bincount(charges["row"], minlength=len(rows.day))
    return _reports(
        rows, specs, *_recurse(rows, _observations(charges, rows, specs), charge_count, state, totals, last)
    )


def _with_columns(frame: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """Return `frame` with `columns` only; an empty frame may lack them."""
    lacking = [name for name in columns if name not in frame.columns]
    if lacking and len(frame):
        raise UsageError(f"assess_days needs the columns {lacking}; the frame has {list(frame.columns)}.")
    return frame.reindex(columns=list(columns)).reset_index(drop=True)


def _day_numbers(dates: pd.Series) -> Integers:
    """Return days since 1970-01-01."""
    return (pd.to_datetime(dates).to_numpy("datetime64[D]") - _EPOCH).astype(np.int64)


def _floats(values: pd.Series) -> Floats:
    """Return a new float array; null of any kind is NaN."""
    return pd.to_numeric(values).to_numpy(np.float64, na_value=np.nan, copy=True)


def _rows(days: pd.DataFrame) -> _Rows:
    codes, ids = pd.factorize(days["vehicle_id"].astype("str"), sort=True)
    day = _day_numbers(days["log_date"])
    order = np.lexsort((codes, day))
    vehicle, day = codes[order].astype(np.int64), day[order]
    twice = np.flatnonzero((np.diff(vehicle) == 0) & (np.diff(day) == 0))
    if len(twice):
        place = f"vehicle {ids[vehicle[twice[0]]]} on {_EPOCH + day[twice[0]]}"
        raise UsageError(f"{place}: the day comes twice. Pass each vehicle and log_date once.")
    columns = {name: _floats(days[name])[order] for name in _DAYS[2:]}
    return _Rows(ids=ids, vehicle=vehicle, day=day, columns=columns)


def _specs(vehicles: pd.DataFrame, ids: pd.Index) -> _Specs:
    known = vehicles.set_index(vehicles["vehicle_id"].astype("str")).reindex(ids)
    reference = _floats(known["capacity_nominal_ah"])
    # A type without an entry has the neutral limits and no more, whether the catalogue said so or the row is missing.
    neutral = (known["spec_source"].astype("str") != "catalogue").to_numpy(bool)
    year = _floats(known["year"])
    return _Specs(
        reference_ah=np.where(np.isfinite(reference) & (reference > 0), reference, np.nan),
        born=(year - 1970 + 0.5) * DAYS_PER_YEAR,
        is_lfp=(known["chemistry"].astype("str") == "LFP").to_numpy(bool),
        is_neutral=neutral,
    )


def _start(previous: pd.DataFrame, rows: _Rows, specs: _Specs) -> tuple[Floats, dict[str, Floats], Integers]:
    """Return each vehicle's state and totals before its first row, and the day they are of."""
    # Rows are sorted by date and every vehicle has one: the first place of each is its earliest day.
    first = rows.day[np.unique(rows.vehicle, return_index=True)[1]]
    keyed = previous.assign(vehicle_id=previous["vehicle_id"].astype("str"), day=_day_numbers(previous["report_date"]))
    newest = (
        keyed.sort_values("day").drop_duplicates("vehicle_id", keep="last").set_index("vehicle_id").reindex(rows.ids)
    )
    seen = newest["day"].notna().to_numpy(bool)
    last = np.where(seen, newest["day"].fillna(0).to_numpy(np.int64), first)
    late = np.flatnonzero(seen & (last >= first))
    if len(late):
        raise UsageError(
            f"vehicle {rows.ids[late[0]]}: its previous report is of {_EPOCH + last[late[0]]}, the first day to assess "
            f"{_EPOCH + first[late[0]]}. Pass the last report before that day."
        )
    totals = {name: _floats(newest[name]) for name in _TOTALS}
    reference = _floats(newest["reference_capacity_ah"])
    same = (reference == specs.reference_ah) | (np.isnan(reference) & np.isnan(specs.reference_ah))
    kept = seen & same
    state = np.where(kept, np.stack([_floats(newest[name]) for name in _STATE]), kalman.prior(first, specs.born))
    for name in ("state_evidence", "observation_count"):
        totals[name] = np.where(kept, totals[name], 0.0)
    totals["charge_cycle_count"] = np.where(seen, totals["charge_cycle_count"], 0.0)
    return state, totals, np.where(kept, last, first)


def _charges(sessions: pd.DataFrame, rows: _Rows) -> pd.DataFrame:
    """Return the charge sessions of the days reported on, with the `row` each belongs to."""
    charges = sessions[(sessions["kind"] == "charge").to_numpy(bool)]
    codes = rows.ids.get_indexer(charges["vehicle_id"].astype("str"))
    wanted = _day_numbers(charges["log_date"]) * len(rows.ids) + codes
    key = rows.day * len(rows.ids) + rows.vehicle
    row = np.searchsorted(key, wanted)
    found = codes >= 0
    found[found] = np.append(key, -1)[row[found]] == wanted[found]
    charges = charges.assign(row=row, ended_at=pd.to_datetime(charges["ended_at"], utc=True))[found]
    if charges["session_id"].duplicated().any():
        twice = charges.loc[charges["session_id"].duplicated(), "session_id"].iloc[0]
        raise UsageError(f"session {twice} comes twice. Pass each session once.")
    return charges


def _observations(charges: pd.DataFrame, rows: _Rows, specs: _Specs) -> _Observations:
    """Turn the charges that observed a capacity into filter input; others, and those of unknown types, are left out."""
    capacity = _floats(charges["observed_capacity_ah"])
    sigma = _floats(charges["observed_capacity_sigma_ah"])
    # NaN compares false: an unusable number is no observation. (A sigma of 0 is a claim, and is floored below.)
    usable = (capacity > 0) & (sigma >= 0) & np.isfinite(capacity) & np.isfinite(sigma)
    row = charges["row"].to_numpy(np.int64)
    usable &= np.isfinite(specs.reference_ah[rows.vehicle[row]])
    used = charges.assign(capacity=capacity, sigma=sigma)[usable].sort_values(["row", "ended_at", "session_id"])
    row = used["row"].to_numpy(np.int64)
    vehicle = rows.vehicle[row]
    capacity = _floats(used["capacity"])
    relative_sd = np.maximum(_floats(used["sigma"]) / capacity, OBSERVATION_SD_MIN)
    plateau = np.where(specs.is_lfp[vehicle], lfp_variance_min(used), 0.0)
    begins = np.flatnonzero(np.diff(row, prepend=-1))
    rank = np.arange(len(row)) - np.repeat(begins, np.diff(begins, append=len(row)))
    relative_variance = np.maximum(relative_sd * relative_sd, plateau)
    believable = np.isfinite(relative_variance)  # an LFP window of unknown width is not
    return _Observations(
        row=row[believable],
        rank=rank[believable],
        measured=(100 * capacity / specs.reference_ah[vehicle])[believable],
        relative_variance=relative_variance[believable],
    )


def lfp_variance_min(charges: pd.DataFrame) -> Floats:
    """Return the least relative variance of charges of LFP packs: 5 SoC points for each end on the plateau.

    The start is good below 12 %, where the voltage falls. The end is good after a full charge, when the BMS has set its
    count right; a high SoC alone does not show that. Both good demands nothing beyond the charge's own sigma.
    """
    flat_start = ~(_floats(charges["soc_start_percent"]) < LFP_KNEE_SOC_PERCENT)
    flat_end = ~charges["full_charge"].fillna(value=False).astype(bool).to_numpy()
    flat = flat_start * 1.0 + flat_end
    relative = SOC_END_SIGMA_LFP_PERCENT / _floats(charges["observed_soc_delta_percent"])
    return np.where(flat > 0, flat * relative * relative, 0.0)


def _recurse(
    rows: _Rows,
    observations: _Observations,
    charge_count: Integers,
    state: Floats,
    totals: dict[str, Floats],
    last: Integers,
) -> tuple[Floats, dict[str, Floats]]:
    """Run the filter: one array step a date, and one more for each further observation of a vehicle on a date.

    Returns:
        The state and the totals after each row.
    """
    states = np.empty((kalman.STATE_ROWS, len(rows.day)))
    after = {name: np.empty(len(rows.day)) for name in _TOTALS}
    order = np.lexsort((observations.row, observations.rank, rows.day[observations.row]))
    obs_day, obs_row = rows.day[observations.row][order], observations.row[order]
    obs_rank, measured = observations.rank[order], observations.measured[order]
    variance = observations.relative_variance[order]
    for date, begin, end in rows.dates():
        who = rows.vehicle[begin:end]
        now = kalman.predict(state[:, who], date - last[who])
        total = {name: totals[name][who] for name in _TOTALS}
        low, high = np.searchsorted(obs_day, [date, date + 1])
        steps = np.searchsorted(obs_rank[low:high], np.arange(obs_rank[low:high].max(initial=-1) + 2)) + low
        for start, stop in pairwise(steps.tolist()):
            expected = kalman.expected_relative_variance(
                now[0, obs_row[start:stop] - begin], measured[start:stop], variance[start:stop]
            )
            used = start + np.flatnonzero(expected <= confidence.OBSERVATION_SD_MAX * confidence.OBSERVATION_SD_MAX)
            at = obs_row[used] - begin
            now[:, at], information = kalman.update(now[:, at], measured[used], variance[used])
            total["state_evidence"][at] += information
            total["observation_count"][at] += 1
        total["charge_cycle_count"] += charge_count[begin:end]
        cycles = rows.columns["equivalent_full_cycles"][begin:end]
        summed = np.where(np.isnan(cycles), 0.0, cycles) + np.nan_to_num(total["equivalent_full_cycles"], nan=0.0)
        no_sum = np.isnan(cycles) & np.isnan(total["equivalent_full_cycles"])
        total["equivalent_full_cycles"] = np.where(no_sum, np.nan, summed)
        odometer = rows.columns["odometer_km"][begin:end]
        total["odometer_km"] = np.where(np.isnan(odometer), total["odometer_km"], odometer)
        state[:, who], states[:, begin:end] = now, now
        last[who] = date
        for name in _TOTALS:
            totals[name][who], after[name][begin:end] = total[name], total[name]
    return states, after


def _reports(rows: _Rows, specs: _Specs, states: Floats, totals: dict[str, Floats]) -> pd.DataFrame:
    """Return the report frame: what the state says, and the state itself."""
    soh, rate, var_soh, _, var_rate = states
    reference = specs.reference_ah[rows.vehicle]
    count = totals["observation_count"].astype(np.int64)
    charges = totals["charge_cycle_count"].astype(np.int64)
    evidence_sd = confidence.evidence_sd(count, totals["state_evidence"])
    enough = np.isfinite(reference) & (evidence_sd <= confidence.EVIDENCE_SD_MAX)
    sd = np.sqrt(var_soh + confidence.systematic_variance(count, totals["state_evidence"]))
    half = confidence.SD_OF_90_PERCENT * sd
    score = confidence.confidence_score(sd)
    score = np.where(specs.is_neutral[rows.vehicle], np.minimum(score, confidence.NEUTRAL_SPEC_CONFIDENCE_MAX), score)
    loss = -DAYS_PER_YEAR * rate
    loss_half = confidence.SD_OF_90_PERCENT * DAYS_PER_YEAR * np.sqrt(var_rate)
    missing = confidence.missing_evidence(
        np.isfinite(reference), charges, count, evidence_sd, specs.is_lfp[rows.vehicle]
    )
    distinct, place = np.unique(rows.day, return_inverse=True)
    dates = distinct.astype("datetime64[D]").astype(object)
    vehicle_id = pa.array(rows.ids.astype("str"), pa.string()).take(pa.array(rows.vehicle))
    kinds = pc.binary_join_element_wise("partial_charge", pc.cast(pa.array(count), pa.string()), ":")
    return pd.DataFrame(
        {
            "report_id": pd.Series(make_ids(vehicle_id.to_pylist(), dates[place].tolist()), dtype="str"),
            "vehicle_id": _text(vehicle_id),
            "report_date": pd.Series(dates[place], dtype=object),
            "state_of_health_percent": np.where(enough, soh, np.nan),
            "soh_lower_90_percent": np.where(enough, soh - half, np.nan),
            "soh_upper_90_percent": np.where(enough, soh + half, np.nan),
            "confidence_score": np.where(enough, score, 0.0),
            "degradation_rate_per_year": loss,
            "degradation_rate_lower_90": loss - loss_half,
            "degradation_rate_upper_90": loss + loss_half,
            "charge_cycle_count": charges,
            "equivalent_full_cycles": totals["equivalent_full_cycles"],
            "reference_capacity_ah": reference,
            "reference_source": _text(_choose(np.isfinite(reference), REFERENCE_SOURCE, None)),
            "observation_count": count,
            "observation_kinds": _text(pc.if_else(pa.array(count > 0), kinds, "")),
            "evidence_status": _text(_choose(enough, "ok", "insufficient_evidence")),
            "evidence_missing": _text(missing),
            "bms_soh_percent": rows.columns["bms_soh_percent"],
            "rate_is_prior": var_rate > RATE_IS_PRIOR_SHARE * kalman.FLEET_RATE_VARIANCE,
            "method_version": pd.Series(METHOD_VERSION, index=range(len(rows.day)), dtype="str"),
            **dict(zip(_STATE, states, strict=True)),
            "state_evidence": totals["state_evidence"],
            "odometer_km": totals["odometer_km"],
        },
        copy=False,
    )


def _text(values: pa.Array) -> pd.Series:
    """Return strings as pandas' `str`, which stays `str` without a row or with nulls only."""
    return pd.Series(values.to_pandas(), dtype="str")


def _choose(condition: npt.NDArray[np.bool_], yes: str, no: str | None) -> pa.Array:
    """Return `yes` or `no` by `condition`."""
    return pc.if_else(pa.array(condition), pa.scalar(yes, pa.string()), pa.scalar(no, pa.string()))
