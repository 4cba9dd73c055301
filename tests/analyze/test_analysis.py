"""The stage as a whole: pure, deterministic, and unmoved by bad input."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from packwatch.analyze import METHOD_VERSION, DayAnalysis, analyze_rows, frames
from packwatch.analyze.conditioning import deduplicate
from packwatch.errors import UsageError
from packwatch.ingest.formats import parse_log
from packwatch.schema import CLEAN_SCHEMA, SCALAR_SIGNALS, conform

MakeLog = Callable[..., pa.Table]
Analyze = Callable[..., DayAnalysis]
MakeVehicles = Callable[..., pd.DataFrame]

RESULTS = ("sessions", "days", "cells", "anomalies")
COLUMNS = {
    "sessions": frames.SESSION_COLUMNS,
    "days": frames.DAY_COLUMNS,
    "cells": frames.CELL_COLUMNS,
    "anomalies": frames.ANOMALY_COLUMNS,
}
DAY = date(2026, 3, 10)
ONE = timedelta(days=1)


def of_days(found: DayAnalysis, first: date, last: date) -> DayAnalysis:
    """The part of an analysis that belongs to some days."""
    parts = []
    for name in RESULTS:
        frame = getattr(found, name)
        days = frame["time"].dt.date if name == "cells" else frame["log_date"]
        parts.append(frame[(days >= first) & (days <= last)].reset_index(drop=True))
    return DayAnalysis(*parts)


def assert_same(left: DayAnalysis, right: DayAnalysis) -> None:
    for name in RESULTS:
        pd.testing.assert_frame_equal(getattr(left, name), getattr(right, name), check_exact=True, obj=name)


def around(table: pa.Table, first: date, last: date) -> pa.Table:
    """The rows that the nightly run loads for some days: theirs and those of the day on either side."""
    days = table["recorded_at"].to_pandas().dt.date
    return table.filter(pa.array((days >= first - ONE) & (days <= last + ONE)))


def busy_week(clean_log: MakeLog, vehicle_id: str, seed: int) -> pa.Table:
    """Six days of a car that drives, charges (also over midnight), rests, drops rows and has a weak cell."""
    generator = np.random.default_rng(seed)
    parts = []
    for day in range(6):
        # Drive 40 minutes at 10 s, rest an hour at 300 s, charge from 21:10 for six hours at 60 s.
        drive, rest, charge = np.arange(0, 2400, 10.0), np.arange(2700, 6300, 300.0), np.arange(46_200, 67_800, 60.0)
        seconds = np.concatenate([drive, rest, charge])
        current = np.concatenate(
            [generator.normal(-40, 30, len(drive)), np.full(len(rest), -0.3), generator.normal(25, 0.5, len(charge))]
        )
        soc = np.concatenate(
            [np.linspace(60, 45, len(drive)), np.full(len(rest), 45), np.linspace(45, 90, len(charge))]
        )
        cells = generator.normal(3.7, 0.002, (len(seconds), 24))
        cells[:, 6] -= 0.06
        values = {
            "pack_current_a": np.where(generator.random(len(seconds)) < 0.02, np.nan, current),
            "pack_voltage_v": cells.sum(axis=1),
            "soc_percent": np.round(soc),
            "speed_kmh": np.where(seconds < 2400, 50.0, 0.0),
            "cell_voltages_v": pa.array(cells.tolist(), pa.list_(pa.float32())),
            "temperature_max_c": 20 + 35 * np.sin(seconds / 30_000) + generator.normal(0, 0.2, len(seconds)),
        }
        table = clean_log(seconds, start=f"2026-03-{8 + day:02d}T08:20", vehicle_id=vehicle_id, **values)
        kept = generator.random(len(table)) > 0.05
        parts.append(table.filter(pa.array(kept)))
    return pa.concat_tables(parts)


@pytest.fixture
def fleet(clean_log: MakeLog) -> pa.Table:
    """Clean rows of three cars over a week; the third is only heard of on the 8th and the 12th."""
    third = busy_week(clean_log, "car3", 3)
    days = third["recorded_at"].to_pandas().dt.date
    third = third.filter(pa.array(days.isin([date(2026, 3, 8), date(2026, 3, 12)])))
    return deduplicate(pa.concat_tables([busy_week(clean_log, "car1", 1), busy_week(clean_log, "car2", 2), third]))[0]


@pytest.fixture
def types(vehicles: MakeVehicles) -> pd.DataFrame:
    return vehicles("car1", "car2", "car3", cells_in_series=24.0)


def test_days_one_by_one_are_the_days_together(fleet: pa.Table, types: pd.DataFrame) -> None:
    first, last = date(2026, 3, 8), date(2026, 3, 14)
    together = analyze_rows(fleet, types, first, last)
    # Overnight charges, weak cells and heat are all there to be compared.
    assert (together.sessions["kind"] == "charge").sum() >= 12
    assert {"severe_voltage_imbalance", "high_temperature"} <= set(together.anomalies["code"])
    for number in range(7):
        day = first + number * ONE
        alone = analyze_rows(around(fleet, day, day), types, day, day)
        assert_same(alone, of_days(together, day, day))


def test_a_pair_of_days_is_part_of_the_whole(fleet: pa.Table, types: pd.DataFrame) -> None:
    first, last = date(2026, 3, 10), date(2026, 3, 11)
    pair = analyze_rows(around(fleet, first, last), types, first, last)
    assert_same(pair, of_days(analyze_rows(fleet, types, date(2026, 3, 8), date(2026, 3, 14)), first, last))


def test_the_neighbors_of_a_vehicle_do_not_matter(fleet: pa.Table, types: pd.DataFrame) -> None:
    everyone = analyze_rows(fleet, types, DAY, DAY)
    alone = analyze_rows(fleet.filter(pa.array(fleet["vehicle_id"].to_pandas() == "car2")), types, DAY, DAY)
    assert len(alone.days) == 1
    parts = [getattr(everyone, name) for name in RESULTS]
    assert_same(alone, DayAnalysis(*(part[part["vehicle_id"] == "car2"].reset_index(drop=True) for part in parts)))


def test_an_overnight_charge_is_reported_once(clean_log: MakeLog, vehicles: MakeVehicles) -> None:
    seconds = np.arange(0, 6 * 3600, 60)
    table = clean_log(
        seconds,
        start="2026-03-10T21:00",
        pack_current_a=10.0,
        pack_voltage_v=400.0,
        soc_percent=30 + seconds / 360,
        charge_state="charging",
    )
    found = [analyze_rows(around(table, day, day), vehicles(), day, day).sessions for day in (DAY, DAY + ONE)]
    assert [len(sessions) for sessions in found] == [0, 1]
    # 359 steps of a minute at 10 A.
    assert found[1]["charge_ah"].tolist() == pytest.approx([359 / 6])


def test_a_vehicle_heard_of_only_in_the_context_has_no_results(clean_log: MakeLog, vehicles: MakeVehicles) -> None:
    ghost = clean_log(np.arange(0, 3600, 10), start="2026-03-09T10:00", vehicle_id="ghost", pack_current_a=50.0)
    later = clean_log(np.arange(0, 3600, 10), start="2026-03-11T10:00", vehicle_id="ghost", pack_current_a=50.0)
    real = clean_log(np.arange(0, 3600, 10), start="2026-03-10T10:00", vehicle_id="real", pack_current_a=50.0)
    table = deduplicate(pa.concat_tables([ghost, later, real]))[0]
    found = analyze_rows(table, vehicles("ghost", "real"), DAY, DAY)
    assert found.days["vehicle_id"].tolist() == ["real"]
    assert found.sessions["vehicle_id"].tolist() == ["real"]
    only_ghost = analyze_rows(table.filter(pa.array(table["vehicle_id"].to_pandas() == "ghost")), vehicles(), DAY, DAY)
    assert all(getattr(only_ghost, name).empty for name in RESULTS)


def test_twice_is_the_same_and_nothing_is_changed(fleet: pa.Table, types: pd.DataFrame) -> None:
    rows, kinds = fleet.to_pylist()[:50], types.copy()
    first, second = (analyze_rows(fleet, types, DAY, DAY) for _ in range(2))
    assert_same(first, second)
    assert fleet.to_pylist()[:50] == rows
    pd.testing.assert_frame_equal(types, kinds)


def test_order_and_duplicates_of_the_input_do_not_matter(fleet: pa.Table, types: pd.DataFrame) -> None:
    order = np.random.default_rng(5).permutation(len(fleet))
    untidy = pa.concat_tables([fleet.take(pa.array(order)), fleet.slice(0, 100)])
    assert_same(analyze_rows(untidy, types, DAY, DAY), analyze_rows(fleet, types, DAY, DAY))


def test_one_percent_more_current_is_one_percent_more_capacity(fleet: pa.Table, types: pd.DataFrame) -> None:
    place = fleet.column_names.index("pack_current_a")
    current = fleet["pack_current_a"].to_numpy() * 1.01
    more = fleet.set_column(place, "pack_current_a", pa.array(current, from_pandas=True))
    plain = analyze_rows(fleet, types, DAY, DAY).sessions["observed_capacity_ah"].dropna()
    scaled = analyze_rows(more, types, DAY, DAY).sessions["observed_capacity_ah"].dropna()
    assert len(plain) > 0
    assert scaled.tolist() == pytest.approx((plain * 1.01).tolist(), rel=1e-9)


def assert_shaped(found: DayAnalysis) -> None:
    for name, columns in COLUMNS.items():
        frame, empty = getattr(found, name), frames.empty_frame(columns)
        assert list(frame.columns) == list(columns)
        assert frame.dtypes.astype(str).tolist() == empty.dtypes.astype(str).tolist()


def test_no_rows_give_empty_frames_of_the_same_shape(
    vehicles: MakeVehicles, fleet: pa.Table, types: pd.DataFrame
) -> None:
    found = analyze_rows(CLEAN_SCHEMA.empty_table(), vehicles().iloc[:0], DAY, DAY)
    assert all(getattr(found, name).empty for name in RESULTS)
    assert_shaped(found)
    assert_shaped(analyze_rows(fleet, types, DAY, DAY))


@pytest.mark.parametrize("rows", [1, 2, 30])
def test_rows_that_hold_nothing_but_a_time(clean_log: MakeLog, vehicles: MakeVehicles, rows: int) -> None:
    found = analyze_rows(clean_log(range(rows)), vehicles(), DAY, DAY)
    assert_shaped(found)
    assert found.days["row_count"].tolist() == [rows]
    assert found.days["completeness"].tolist() == [0.0]
    assert found.sessions.empty
    assert found.cells.empty
    assert found.anomalies.empty


@pytest.mark.parametrize("missing", [*SCALAR_SIGNALS, "cell_voltages_v"])
def test_every_signal_may_be_missing(fleet: pa.Table, types: pd.DataFrame, missing: str) -> None:
    place = fleet.column_names.index(missing)
    without = fleet.set_column(place, missing, pa.nulls(len(fleet), CLEAN_SCHEMA.field(missing).type))
    found = analyze_rows(without, types, DAY, DAY)
    assert_shaped(found)
    assert len(found.days) == 2


def test_vehicles_without_a_type_are_analyzed(fleet: pa.Table, types: pd.DataFrame) -> None:
    found = analyze_rows(fleet, types.iloc[:0], DAY, DAY)
    assert len(found.days) == 2
    assert found.days["equivalent_full_cycles"].isna().all()
    assert (found.sessions["kind"] == "charge").any()


def test_columns_may_be_categories(fleet: pa.Table, types: pd.DataFrame) -> None:
    encoded = fleet.set_column(0, "vehicle_id", fleet["vehicle_id"].dictionary_encode())
    assert_same(analyze_rows(encoded, types, DAY, DAY), analyze_rows(fleet, types, DAY, DAY))


@pytest.mark.parametrize(("last", "interval"), [(DAY - ONE, 3600), (DAY, 0)])
def test_impossible_questions_are_refused(
    clean_log: MakeLog, vehicles: MakeVehicles, last: date, interval: int
) -> None:
    with pytest.raises(UsageError, match="the last day must not be before the first"):
        analyze_rows(clean_log([0]), vehicles(), DAY, last, interval_s=interval)


def test_the_method_has_a_version() -> None:
    assert METHOD_VERSION


@pytest.fixture(scope="module")
def leaf_rows(real_logs: Path) -> pa.Table:
    """Clean rows of the real 2020 Leaf, polled every 302 s on two journeys."""
    parts = [parse_log(path.read_bytes(), path.name).rows for path in sorted((real_logs / "leafspy-us").glob("*.csv"))]
    rows = pa.concat_tables(parts)
    names = pa.array(["leaf"] * len(rows), pa.string())
    return deduplicate(conform(rows.append_column("vehicle_id", names), CLEAN_SCHEMA))[0]


def test_a_healthy_real_leaf_is_hot_and_nothing_else(leaf_rows: pa.Table, vehicles: MakeVehicles) -> None:
    found = analyze_rows(leaf_rows, vehicles("leaf", capacity_nominal_ah=176.0), date(2022, 6, 9), date(2022, 9, 15))
    assert set(found.anomalies["code"]) == {"high_temperature"}
    hottest = found.days.set_index("log_date")["temperature_max_c"]
    # The 13th of September touches 50.0 °C in one sample only.
    assert found.anomalies["log_date"].tolist() == hottest.index[hottest > 50].tolist()
    assert len(found.cells) == 96 * found.cells["time"].nunique()


def test_charges_of_a_real_leaf_agree_with_its_own_capacity(leaf_rows: pa.Table, vehicles: MakeVehicles) -> None:
    found = analyze_rows(leaf_rows, vehicles("leaf", capacity_nominal_ah=176.0), date(2022, 6, 9), date(2022, 9, 15))
    observed = found.sessions.dropna(subset=["observed_capacity_ah"])
    assert len(observed) >= 8
    # The BMS says 169.4 Ah in June and 168.0 Ah in September.
    assert observed["observed_capacity_ah"].median() == pytest.approx(168.7, rel=0.02)
    assert ((observed["observed_capacity_ah"] - 168.7).abs() < 2 * observed["observed_capacity_sigma_ah"]).all()
