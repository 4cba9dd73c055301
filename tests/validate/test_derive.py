"""The checkable frame holds what the rules need, worked out by hand."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from packwatch.ingest.identity import vehicle_ids
from packwatch.schema import PARSED_SCHEMA
from packwatch.validate.derive import derive

from .conftest import ARRIVAL, EMPTY_ROW, make_vehicles

Table = Callable[..., pa.Table]


def test_lists_become_their_extremes(table: Table, vehicles: pd.DataFrame) -> None:
    rows = table(
        {"cell_voltages_v": [3.5, 3.75, 4.0]},
        {"cell_voltages_v": []},
        {"cell_voltages_v": None},
        {"cell_voltages_v": [None, 3.25]},
        {"cell_voltages_v": [None, None]},
        {"cell_voltages_v": [float("nan"), 3.5, float("inf")]},
        {"cell_voltages_v": [3.125]},
    )
    checkable = derive(rows, vehicles, ARRIVAL)
    np.testing.assert_array_equal(checkable["cell_voltages_v_lowest"], [3.5, np.nan, np.nan, 3.25, np.nan, 3.5, 3.125])
    np.testing.assert_array_equal(checkable["cell_voltages_v_highest"], [4.0, np.nan, np.nan, 3.25, np.nan, 3.5, 3.125])
    assert checkable["not_finite_count"].tolist() == [0, 0, 0, 0, 0, 2, 0]
    # Four in series: 3 - 4, nothing listed, nothing listed, 2 - 4, 2 - 4, 3 - 4, 1 - 4.
    np.testing.assert_array_equal(checkable["cell_count_difference"], [-1, np.nan, np.nan, -2, -2, -1, -3])


def test_a_slice_of_a_batch_gives_the_slice_of_its_frame(table: Table, vehicles: pd.DataFrame) -> None:
    changes = [{"cell_voltages_v": [3.0 + k / 8] * (k % 5), "vin": f"TESTCAR{k % 3}"} for k in range(12)]
    whole = derive(table(*changes), vehicles, ARRIVAL)
    part = derive(table(*changes).slice(4, 5), vehicles, ARRIVAL)
    pd.testing.assert_frame_equal(
        part, whole.iloc[4:9].reset_index(drop=True), check_categorical=False, check_dtype=False
    )


def test_null_lists_that_hide_values_are_empty(table: Table, vehicles: pd.DataFrame) -> None:
    # Arrow allows a null list to span values: rows [3.0], null over [9.0], [4.0].
    hidden = pa.ListArray.from_arrays(
        pa.array([0, 1, 2, 3], pa.int32()),
        pa.array([3.0, 9.0, 4.0], pa.float32()),
        mask=pa.array([False, True, False]),
    )
    place = PARSED_SCHEMA.get_field_index("cell_voltages_v")
    rows = table({}, {}, {}).set_column(place, PARSED_SCHEMA.field("cell_voltages_v"), hidden)
    checkable = derive(rows, vehicles, ARRIVAL)
    np.testing.assert_array_equal(checkable["cell_voltages_v_highest"], [3.0, np.nan, 4.0])


def test_scalar_and_list_extremes_are_joined(table: Table, vehicles: pd.DataFrame) -> None:
    rows = table(
        {"cell_voltage_min_v": 3.5, "cell_voltages_v": [3.25, 4.0], "cell_voltage_max_v": 3.75},
        {"cell_voltage_min_v": None, "cell_voltages_v": [3.25, 4.0], "cell_voltage_max_v": None},
        {"cell_voltage_min_v": 3.5, "cell_voltages_v": None, "cell_voltage_max_v": 3.75},
    )
    checkable = derive(rows, vehicles, ARRIVAL)
    assert checkable["cell_lowest_v"].tolist() == [3.25, 3.25, 3.5]
    assert checkable["cell_highest_v"].tolist() == [4.0, 4.0, 3.75]
    # The type holds 2.5 V to 4.2 V.
    assert checkable["cell_lowest_above_type_min_v"].tolist() == [0.75, 0.75, 1.0]
    assert checkable["cell_highest_above_type_max_v"].tolist() == [-0.2, -0.2, -0.45]


def test_pack_voltage_against_cells(table: Table, vehicles: pd.DataFrame) -> None:
    cells = [3.75, 3.75, 3.75, 3.75]  # 15 V
    rows = table(
        {"cell_voltages_v": cells, "pack_voltage_v": 16.5},  # 1.5 of 15 V: 10 %
        {"cell_voltages_v": cells, "pack_voltage_v": 13.5},  # the other way
        {"cell_voltages_v": cells * 2, "pack_voltage_v": 15.0},  # eight listed, four in series: 15 V fits the latter
        {"cell_voltages_v": cells * 2, "pack_voltage_v": 30.0},  # and 30 V the former
        # 4 x 3.5 = 14 V to 4 x 4 = 16 V, middle 15 V
        {"cell_voltages_v": None, "cell_voltage_min_v": 3.5, "cell_voltage_max_v": 4.0, "pack_voltage_v": 15.9},
        {"cell_voltages_v": None, "cell_voltage_min_v": 3.5, "cell_voltage_max_v": 4.0, "pack_voltage_v": 17.5},
        {"cell_voltages_v": None, "cell_voltage_min_v": 4.0, "cell_voltage_max_v": 3.5, "pack_voltage_v": 12.5},
        {"cell_voltages_v": None, "cell_voltage_min_v": None},  # nothing to compare with
        {"cell_voltages_v": None, "cell_voltage_min_v": 0.0, "cell_voltage_max_v": 0.0, "pack_voltage_v": 0.0},
    )
    checkable = derive(rows, vehicles, ARRIVAL)
    nan = np.nan
    np.testing.assert_allclose(checkable["pack_off_cells_percent"], [10, 10, 0, 0, 0, 10, 10, nan, nan], atol=1e-9)
    np.testing.assert_allclose(
        checkable["pack_off_listed_cells_percent"], [10, 10, 0, 0, nan, nan, nan, nan, nan], atol=1e-9
    )
    np.testing.assert_allclose(checkable["pack_off_type_percent"], [nan] * 4 + [0, 10, 10, nan, nan], atol=1e-9)


def test_an_unknown_type_is_compared_with_what_the_row_lists(table: Table) -> None:
    unknown = make_vehicles(["TESTCAR1"], cells_in_series=np.nan)
    rows = table({"pack_voltage_v": 7.4}, {"pack_voltage_v": 7.4, "cell_voltages_v": None})
    for vehicles in (unknown, unknown.iloc[:0]):
        checkable = derive(rows, vehicles, ARRIVAL)
        # The four listed cells add up to 14.8 V.
        np.testing.assert_allclose(checkable["pack_off_cells_percent"], [50, np.nan])
        assert checkable["cell_count_difference"].isna().all()


def test_one_vehicle_however_its_vin_is_spelled(table: Table, vehicles: pd.DataFrame) -> None:
    rows = table(*({"vin": vin} for vin in ["TESTCAR1", " testcar1", "TESTCAR2", None, "", "no/good", "0" * 17]))
    checkable = derive(rows, vehicles, ARRIVAL)
    first, second = vehicle_ids(pd.Series(["TESTCAR1", "TESTCAR2"]))
    assert checkable["vehicle_id"].astype(object).where(checkable["vehicle_id"].notna(), None).tolist() == [
        first, first, second, None, None, None, None,
    ]  # fmt: skip
    assert checkable["vin"].isna().tolist() == [False, False, False, True, True, False, False]
    assert checkable["vin_malformed"].tolist() == [False, False, False, False, False, True, True]


@pytest.mark.parametrize(
    ("year", "vehicle_year", "earliest"),
    [
        (2020, 2015, dt.date(2019, 1, 1)),  # the row's own year counts
        (None, 2015, dt.date(2014, 1, 1)),  # then the vehicle's
        (None, None, dt.date(2008, 1, 1)),
        (2008, None, dt.date(2008, 1, 1)),  # not before the first car
        (1999, None, dt.date(2008, 1, 1)),
        (2027, None, dt.date(2026, 1, 1)),  # next year's model is on the road
        (2028, None, dt.date(2008, 1, 1)),  # the model after that is a typing error
    ],
)
def test_the_earliest_time_follows_the_model_year(
    table: Table, year: int | None, vehicle_year: int | None, earliest: dt.date
) -> None:
    vehicles = make_vehicles(["TESTCAR1"], year=pd.array([vehicle_year], dtype="Int16"))
    checkable = derive(table({"year": year}), vehicles, ARRIVAL)
    # The row is of 10 March 2026, 12:00.
    assert checkable["days_since_earliest"].tolist() == [(ARRIVAL - earliest).days + 0.5]


def test_midnight_and_impossible_times(table: Table, vehicles: pd.DataFrame) -> None:
    rows = table(
        {"recorded_at": dt.datetime(2026, 3, 9, 23, 59, 59, 999000, tzinfo=dt.UTC)},
        {"recorded_at": dt.datetime(2026, 3, 10, tzinfo=dt.UTC)},
        {"recorded_at": dt.datetime(2026, 3, 11, tzinfo=dt.UTC)},
        {"recorded_at": None},
    )
    checkable = derive(rows, vehicles, ARRIVAL)
    np.testing.assert_array_equal(checkable["log_days_after_arrival"], [-1, 0, 1, np.nan])
    extremes = pa.array([-(2**63) + 1, 2**63 - 1], pa.int64()).cast(pa.timestamp("ms", "UTC"))
    place = PARSED_SCHEMA.get_field_index("recorded_at")
    extreme = derive(table({}, {}).set_column(place, PARSED_SCHEMA.field(place), extremes), vehicles, ARRIVAL)
    assert extreme["days_since_earliest"].iloc[0] < 0
    assert extreme["log_days_after_arrival"].iloc[1] > 1


def test_signals_and_their_faults_are_counted(table: Table, vehicles: pd.DataFrame) -> None:
    checkable = derive(
        table({}, EMPTY_ROW, {"soc_percent": float("nan"), "speed_kmh": float("inf")}), vehicles, ARRIVAL
    )
    # 16 signals; NaN is no value, infinity is one, however wrong.
    assert checkable["signal_count"].tolist() == [16, 0, 15]
    assert checkable["not_finite_count"].tolist() == [0, 0, 2]


def test_no_python_object_is_made_for_a_row(random_table: pa.Table, vehicles: pd.DataFrame) -> None:
    checkable = derive(random_table, vehicles, ARRIVAL)
    assert not [name for name, dtype in checkable.dtypes.items() if dtype in (object, "str")]
    # 37 columns of 8 bytes at most, and little beside.
    assert checkable.memory_usage(deep=True).sum() / len(checkable) < 320


def test_nothing_that_comes_in_is_changed(random_table: pa.Table, vehicles: pd.DataFrame) -> None:
    before, copy = random_table.to_pandas().copy(deep=True), vehicles.copy(deep=True)
    derive(random_table, vehicles, ARRIVAL)
    pd.testing.assert_frame_equal(random_table.to_pandas(), before)
    pd.testing.assert_frame_equal(vehicles, copy)
