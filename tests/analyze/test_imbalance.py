"""Cells apart from the others at rest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from packwatch.analyze import DayAnalysis

MakeLog = Callable[..., pa.Table]
Analyze = Callable[..., DayAnalysis]
MakeCells = Callable[..., pa.Array]

ROWS = 40
SECONDS = np.arange(ROWS) * 60


def imbalance(found: DayAnalysis) -> pd.DataFrame:
    return found.anomalies[found.anomalies["code"] == "severe_voltage_imbalance"].reset_index(drop=True)


@pytest.mark.parametrize(("shift_mv", "severity"), [(-15, None), (-25, 1), (-60, 2), (-120, 3), (60, 2)])
def test_a_cell_is_named_with_its_amount(
    clean_log: MakeLog, analyze: Analyze, cells_of: MakeCells, shift_mv: float, severity: int | None
) -> None:
    lists = cells_of(ROWS, cell_17=3.7 + shift_mv / 1000)
    found = imbalance(analyze(clean_log(SECONDS, pack_current_a=0.0, soc_percent=60.0, cell_voltages_v=lists)))
    if severity is None:
        assert found.empty
        return
    row = found.iloc[0]
    assert (len(found), row["severity"], row["subject"], row["unit"]) == (1, severity, "cell 17", "mV")
    # The cell is part of the mean: its deviation is 95/96 of the shift.
    assert row["value"] == pytest.approx(shift_mv * 95 / 96, abs=0.01)
    assert row["row_count"] == ROWS
    assert row["started_at"] == pd.Timestamp("2026-03-10T08:00Z")
    side = "below" if shift_mv < 0 else "above"
    assert f"Cell 17 lies {abs(shift_mv * 95 / 96):.0f} mV {side} the mean" in row["message"]
    assert "since 2026-03-10 08:00 UTC" in row["message"]
    # All others deviate by 1/96 of the shift.
    assert row["normal_value"] == pytest.approx(abs(shift_mv) / 96, abs=0.01)
    assert row["action"]


@pytest.mark.parametrize(
    ("current", "soc", "found"), [(0.0, 60.0, 1), (20.0, 60.0, 0), (0.0, 20.0, 0), (0.0, 95.0, 0), (None, 60.0, 0)]
)
def test_only_quiet_rows_at_middle_soc_tell(
    clean_log: MakeLog, analyze: Analyze, cells_of: MakeCells, current: float | None, soc: float, found: int
) -> None:
    lists = cells_of(ROWS, cell_3=3.6)
    table = clean_log(SECONDS, pack_current_a=current, soc_percent=soc, cell_voltages_v=lists)
    assert len(imbalance(analyze(table))) == found


@pytest.mark.parametrize(("bad_rows", "found"), [(4, 0), (5, 1)])
def test_it_must_persist(clean_log: MakeLog, analyze: Analyze, cells_of: MakeCells, bad_rows: int, found: int) -> None:
    # Five rows, and a tenth of 40.
    good, bad = cells_of(ROWS - bad_rows).to_pylist(), cells_of(bad_rows, cell_9=3.6).to_pylist()
    table = clean_log(
        SECONDS, pack_current_a=0.0, soc_percent=60.0, cell_voltages_v=pa.array(good + bad, pa.list_(pa.float32()))
    )
    result = imbalance(analyze(table))
    assert len(result) == found
    if found:
        assert result["started_at"].tolist() == [pd.Timestamp("2026-03-10T08:35Z")]


def test_five_rows_among_many_are_not_enough(clean_log: MakeLog, analyze: Analyze, cells_of: MakeCells) -> None:
    lists = pa.array(cells_of(60).to_pylist() + cells_of(5, cell_9=3.6).to_pylist(), pa.list_(pa.float32()))
    table = clean_log(np.arange(65) * 60, pack_current_a=0.0, soc_percent=60.0, cell_voltages_v=lists)
    assert imbalance(analyze(table)).empty


def test_modules_are_not_named_as_cells(clean_log: MakeLog, analyze: Analyze, cells_of: MakeCells) -> None:
    # A module of 12 of 96 cells (12.5 %) 60 mV lower: its deviation is 84/96 of that, 52.5 mV, the others' 7.5 mV.
    module = {f"cell_{number}": 3.64 for number in range(13, 25)}
    table = clean_log(SECONDS, pack_current_a=0.0, soc_percent=60.0, cell_voltages_v=cells_of(ROWS, **module))
    found = analyze(table).anomalies
    assert found["code"].tolist() == ["voltage_groups"]
    row = found.iloc[0]
    assert (row["severity"], row["subject"]) == (1, "pack")
    assert row["value"] == pytest.approx(52.5, abs=0.01)
    assert "12 of 96" in row["message"]


def test_a_bad_cell_stands_out_of_its_module(clean_log: MakeLog, analyze: Analyze, cells_of: MakeCells) -> None:
    module = {f"cell_{number}": 3.67 for number in range(13, 25)}
    lists = cells_of(ROWS, **(module | {"cell_20": 3.58}))
    found = analyze(clean_log(SECONDS, pack_current_a=0.0, soc_percent=60.0, cell_voltages_v=lists)).anomalies
    assert found["code"].tolist() == ["severe_voltage_imbalance", "voltage_groups"]
    assert found["subject"].tolist() == ["cell 20", "pack"]


def test_few_cells_alike_in_a_pack_of_groups_are_a_group(
    clean_log: MakeLog, analyze: Analyze, cells_of: MakeCells
) -> None:
    # Twelve cells 30 mV low, six of another module 60 mV low: fewer than 8 %, but alike.
    groups = {f"cell_{number}": 3.67 for number in range(1, 13)} | {f"cell_{number}": 3.64 for number in range(85, 91)}
    table = clean_log(SECONDS, pack_current_a=0.0, soc_percent=60.0, cell_voltages_v=cells_of(ROWS, **groups))
    assert analyze(table).anomalies["code"].tolist() == ["voltage_groups"]


def test_a_garbled_reading_is_no_cell_fault_and_sets_no_amount(
    clean_log: MakeLog, analyze: Analyze, cells_of: MakeCells
) -> None:
    lists = cells_of(ROWS, cell_5=3.64).to_pylist()
    for number in (3, 8, 12):
        lists[number][4] = 0.6  # V; valid, and wrong
        lists[number][60] = 0.0
    table = clean_log(
        SECONDS, pack_current_a=0.0, soc_percent=60.0, cell_voltages_v=pa.array(lists, pa.list_(pa.float32()))
    )
    found = imbalance(analyze(table))
    assert found["subject"].tolist() == ["cell 5"]
    assert found["value"].iloc[0] == pytest.approx(-60 * 95 / 96, abs=0.5)


def lfp(vehicles: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    return vehicles(chemistry="LFP", cells_in_series=106.0)


@pytest.mark.parametrize(("soc", "severity"), [(60.0, None), (99.0, 2), (8.0, 2)])
def test_lfp_is_judged_at_its_knees(
    clean_log: MakeLog,
    analyze: Analyze,
    cells_of: MakeCells,
    vehicles: Callable[..., pd.DataFrame],
    soc: float,
    severity: int | None,
) -> None:
    lists = cells_of(ROWS, 106, 3.3, cell_50=3.6)
    table = clean_log(SECONDS, pack_current_a=2.0, soc_percent=soc, cell_voltages_v=lists)
    found = imbalance(analyze(table, types=lfp(vehicles)))
    if severity is None:
        assert found.empty
        return
    # 300 mV apart: above 250, below 400 mV.
    row = found.iloc[0]
    assert (row["severity"], row["subject"], row["limit_value"]) == (severity, "cell 50", 250.0)
    assert row["value"] == pytest.approx(300, abs=0.01)
    assert "cell 50 lies 297 mV above the mean" in row["message"]


def test_an_lfp_pack_that_fans_out_is_the_pack(
    clean_log: MakeLog, analyze: Analyze, vehicles: Callable[..., pd.DataFrame]
) -> None:
    fan = np.linspace(3.3, 3.6, 106, dtype=np.float32).tolist()
    lists = pa.array([fan] * ROWS, pa.list_(pa.float32()))
    table = clean_log(SECONDS, pack_current_a=2.0, soc_percent=99.0, cell_voltages_v=lists)
    assert imbalance(analyze(table, types=lfp(vehicles)))["subject"].tolist() == ["pack"]


@pytest.mark.parametrize(("low", "severity"), [(3.65, None), (3.63, 1), (3.57, 2), (3.48, 3)])
def test_without_lists_the_extremes_are_judged(
    clean_log: MakeLog, analyze: Analyze, low: float, severity: int | None
) -> None:
    table = clean_log(
        SECONDS,
        pack_current_a=0.0,
        soc_percent=60.0,
        pack_voltage_v=96 * 3.69,
        cell_voltage_min_v=low,
        cell_voltage_max_v=3.70,
    )
    found = imbalance(analyze(table))
    if severity is None:
        assert found.empty
        return
    row = found.iloc[0]
    assert (row["severity"], row["subject"]) == (severity, "pack")
    assert row["value"] == pytest.approx(1000 * (3.70 - low))
    # Mean cell 3.69 V.
    assert f"{1000 * (3.69 - low):.0f} mV below and 10 mV above the mean" in row["message"]
