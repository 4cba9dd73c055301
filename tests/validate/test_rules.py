"""Every rule is broken by the row it is made for, and by nothing that lies on its limit."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from packwatch.schema import BY_NAME, LISTS, SIGNALS
from packwatch.validate.derive import derive
from packwatch.validate.rules import BY_CODE, RULES, Rule, row_mask

from .conftest import ARRIVAL, EMPTY_ROW

# The change to a sound row, and every rule it breaks. Cells: 4 in series, 2.5 V to 4.2 V, sum 14.8 V.
BROKEN: list[tuple[dict[str, Any], set[str]]] = [
    (EMPTY_ROW, {"empty_row", "missing_identity", "missing_time"}),
    ({"vin": None}, {"missing_identity"}),
    ({"vin": "  "}, {"missing_identity"}),
    ({"vin": "TEST-CAR"}, {"malformed_vin"}),
    ({"vin": "A23456789012345678"}, {"malformed_vin"}),  # 18 characters
    ({"vin": "0" * 17}, {"malformed_vin"}),
    ({"recorded_at": None}, {"missing_time"}),
    # Model year 2020: not before 2019.
    ({"recorded_at": dt.datetime(2018, 12, 31, 23, 59, 59, 999000, tzinfo=dt.UTC)}, {"time_too_early"}),
    # Arrived on the 10th: not after the 11th.
    ({"recorded_at": dt.datetime(2026, 3, 12, tzinfo=dt.UTC)}, {"time_in_future"}),
    ({"soc_percent": float("nan")}, {"not_finite"}),
    ({"pack_current_a": float("-inf")}, {"not_finite", "pack_current_a_out_of_range"}),
    ({"temperatures_c": [20.0, float("nan")]}, {"not_finite"}),
    # 1,000 V of pack is allowed, but 1000.5 V is also 6660 % off 14.8 V.
    (
        {"pack_voltage_v": 1000.5},
        {"pack_voltage_v_out_of_range", "pack_voltage_contradicts_cells", "pack_voltage_off_cells"},
    ),
    ({"pack_current_a": 2000.5}, {"pack_current_a_out_of_range"}),
    ({"soc_percent": -0.5}, {"soc_percent_out_of_range"}),
    ({"speed_kmh": 351.0}, {"speed_kmh_out_of_range"}),
    ({"odometer_km": 3_000_001.0}, {"odometer_km_out_of_range"}),
    ({"cell_voltage_min_v": 0.25}, {"cell_voltage_min_v_out_of_range", "cell_voltage_below_type"}),
    ({"cell_voltage_max_v": 6.0}, {"cell_voltage_max_v_out_of_range", "cell_voltage_above_type"}),
    ({"temperature_min_c": -51.0}, {"temperature_min_c_out_of_range"}),
    ({"temperature_max_c": 255.0}, {"temperature_max_c_out_of_range"}),
    ({"ambient_temperature_c": 81.0}, {"ambient_temperature_c_out_of_range"}),
    ({"insulation_resistance_kohm": -1.0}, {"insulation_resistance_kohm_out_of_range"}),
    ({"bms_soh_percent": 121.0}, {"bms_soh_percent_out_of_range"}),
    ({"bms_capacity_ah": 1001.0}, {"bms_capacity_ah_out_of_range"}),
    # Mean 2.775 V, sum 11.1 V: 14.8 V is 33 % off; 0 V is also 2.5 V below the type.
    (
        {"cell_voltages_v": [3.7, 3.7, 3.7, 0.0]},
        {
            "cell_voltages_v_too_low",
            "cell_voltage_below_type",
            "pack_voltage_contradicts_cells",
            "pack_voltage_off_cells",
        },
    ),
    # Sum 16.6 V: 14.8 V is 10.8 % off.
    (
        {"cell_voltages_v": [3.7, 3.7, 3.7, 5.5]},
        {"cell_voltages_v_too_high", "cell_voltage_above_type", "pack_voltage_off_cells"},
    ),
    ({"temperatures_c": [20.0, -60.0]}, {"temperatures_c_too_low"}),
    ({"temperatures_c": [20.0, 255.0]}, {"temperatures_c_too_high"}),
    ({"charge_state": "idle"}, {"charge_state_unknown"}),
    ({"cell_voltage_min_v": 3.75}, {"cell_min_above_max"}),
    ({"temperature_min_c": 22.5}, {"temperature_min_above_max"}),
    # 14.8 V x 1.16 = 17.168 V.
    ({"pack_voltage_v": 17.168}, {"pack_voltage_contradicts_cells", "pack_voltage_off_cells"}),
    # Without the list: 4 x 3.6875 = 14.75 V to 4 x 3.7125 = 14.85 V; 23 V is 8.15 V above, 55 % of 14.8 V.
    ({"cell_voltages_v": None, "pack_voltage_v": 23.0}, {"pack_voltage_contradicts_type", "pack_voltage_off_cells"}),
    # 19 V is 4.15 V above, 28 %: another size of the same model may explain it.
    ({"cell_voltages_v": None, "pack_voltage_v": 19.0}, {"pack_voltage_off_cells"}),
    # 14.8 V x 1.04 = 15.392 V.
    ({"pack_voltage_v": 15.392}, {"pack_voltage_off_cells"}),
    # 2.5 V - 0.2 V = 2.3 V is the limit.
    ({"cell_voltage_min_v": 2.25}, {"cell_voltage_below_type"}),
    # 4.2 V + 0.1 V = 4.3 V is the limit.
    ({"cell_voltage_max_v": 4.35}, {"cell_voltage_above_type"}),
    # Three cells: 11.1 V by themselves, but their mean times four in series is 14.8 V.
    ({"cell_voltages_v": [3.7, 3.7, 3.7]}, {"cell_count_differs"}),
    ({"year": 2101}, {"year_out_of_range"}),
]


@pytest.mark.parametrize(("change", "codes"), BROKEN, ids=lambda value: "+".join(sorted(value)))
def test_a_row_breaks_exactly_the_rules_it_should(
    change: dict[str, Any], codes: set[str], table: Callable[..., pa.Table], vehicles: pd.DataFrame
) -> None:
    hits = row_mask(derive(table({}, change), vehicles, ARRIVAL))
    broken = {rule.code for rule, hit in zip(RULES, hits.matrix[1], strict=True) if hit}
    assert broken == codes
    assert not hits.matrix[0].any()
    assert hits.broken.tolist() == [False, any(BY_CODE[code].severity == "error" for code in codes)]


def test_every_rule_has_a_row_that_breaks_it() -> None:
    assert set().union(*(codes for _, codes in BROKEN)) == set(BY_CODE)


# What lies on a limit is allowed.
SOUND_TOO: list[dict[str, Any]] = [
    {"vin": "1"},
    {"vin": "a2345678901234567"},
    {"vin": " TESTCAR1 "},
    {"recorded_at": dt.datetime(2019, 1, 1, tzinfo=dt.UTC)},
    {"recorded_at": dt.datetime(2026, 3, 11, 23, 59, 59, 999000, tzinfo=dt.UTC)},
    {"recorded_at": dt.datetime(2026, 3, 10, tzinfo=dt.UTC)},
    {"cell_voltage_min_v": 2.3},
    {"cell_voltage_max_v": 4.3},
    {"temperature_min_c": 22.0},
    {"cell_voltage_min_v": 3.7125},
    {"pack_voltage_v": 14.8 * 1.0299},
    {"charge_state": None},
    {"year": None},
    {"cell_voltages_v": []},
    {"cell_voltages_v": None, "temperatures_c": None},
    {"cell_voltages_v": [3.7, None, 3.7, 3.7]},
]


@pytest.mark.parametrize("change", SOUND_TOO, ids=str)
def test_a_row_on_the_limit_breaks_nothing(
    change: dict[str, Any], table: Callable[..., pa.Table], vehicles: pd.DataFrame
) -> None:
    hits = row_mask(derive(table(change), vehicles, ARRIVAL))
    assert [rule.code for rule, hit in zip(RULES, hits.matrix[0], strict=True) if hit] == []


@pytest.mark.parametrize("name", [name for name in SIGNALS if BY_NAME[name].minimum is not None and name not in LISTS])
def test_the_range_of_a_signal_is_the_schemas(name: str) -> None:
    column = BY_NAME[name]
    beyond = [np.nextafter(column.minimum, -np.inf), np.nextafter(column.maximum, np.inf)]
    checkable = pd.DataFrame({name: [column.minimum, column.maximum, np.nan, *beyond]})
    hits = row_mask(checkable, [BY_CODE[f"{name}_out_of_range"]])
    assert hits.matrix[:, 0].tolist() == [False, False, False, True, True]


def test_the_table_is_well_formed() -> None:
    assert len(BY_CODE) == len(RULES)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", rule.code) for rule in RULES)
    assert all(rule.sentence[0].isupper() and rule.sentence.endswith(".") for rule in RULES)
    # The first broken rule is the reason of a row, so no warning may stand before an error.
    severities = [rule.severity for rule in RULES]
    assert severities == sorted(severities)


def test_warned_rows_are_kept_rows_only(table: Callable[..., pa.Table], vehicles: pd.DataFrame) -> None:
    # A warning; a warning and an error; neither.
    rows = table({"year": 2101}, {"year": 2101, "soc_percent": 101.0}, {})
    hits = row_mask(derive(rows, vehicles, ARRIVAL))
    assert hits.warned.tolist() == [True, False, False]
    assert hits.broken.tolist() == [False, True, False]
    assert hits.counts[RULES.index(BY_CODE["year_out_of_range"])] == 2
    assert hits.of("year_out_of_range", "soc_percent_out_of_range").tolist() == [True, True, False]


def test_missing_values_break_no_rule_but_not_null() -> None:
    checkable = pd.DataFrame({"x": [np.nan], "y": [np.nan], "z": pd.array([None], dtype="str")})
    rules = [
        Rule("between", "S.", ("x",), "between", minimum=0, maximum=1),
        Rule("pair", "S.", ("x", "y"), "not_less_than"),
        Rule("set", "S.", ("z",), "in_set", values=("a",)),
        Rule("present", "S.", ("x",), "not_null"),
    ]
    assert row_mask(checkable, rules).counts.tolist() == [0, 0, 0, 1]


def test_a_frame_without_rows_or_errors(table: Callable[..., pa.Table], vehicles: pd.DataFrame) -> None:
    empty = row_mask(derive(table(), vehicles, ARRIVAL))
    assert empty.matrix.shape == (0, len(RULES))
    assert empty.broken.shape == (0,)
    only_warning = row_mask(derive(table({"year": 2101}), vehicles, ARRIVAL), [BY_CODE["year_out_of_range"]])
    assert only_warning.broken.tolist() == [False]


def test_the_mask_leaves_the_frame_as_it_was(random_table: pa.Table, vehicles: pd.DataFrame) -> None:
    checkable = derive(random_table, vehicles, ARRIVAL)
    before = checkable.copy(deep=True)
    row_mask(checkable)
    pd.testing.assert_frame_equal(checkable, before)
