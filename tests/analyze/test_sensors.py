"""Sensors that cannot be right."""

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


def faults(found: DayAnalysis) -> pd.DataFrame:
    return found.anomalies[found.anomalies["code"] == "sensor_fault"].reset_index(drop=True)


def probes(rows: np.ndarray) -> pa.Array:
    return pa.array(rows.tolist(), pa.list_(pa.float32()))


@pytest.mark.parametrize(("warms_by", "found"), [(4.0, 0), (6.0, 1)])
def test_a_probe_that_stands_still(clean_log: MakeLog, analyze: Analyze, warms_by: float, found: int) -> None:
    rows = 50
    others = np.linspace(20, 20 + warms_by, rows)
    lists = np.column_stack([others, others + 1, np.full(rows, 22.0), others - 1])
    result = faults(analyze(clean_log(np.arange(rows) * 60, temperatures_c=probes(lists))))
    assert result["subject"].tolist() == ["probe 3"] * found
    if found:
        assert result["severity"].tolist() == [1]
        assert "22.0 °C in all 50 readings" in result["message"].iloc[0]
        assert "moved by 6 K" in result["message"].iloc[0]


def test_a_pack_that_stands_still_is_no_fault(clean_log: MakeLog, analyze: Analyze) -> None:
    lists = np.full((50, 4), 21.0)
    lists[:, 0] = np.linspace(20, 27, 50)  # one probe in the sun
    assert faults(analyze(clean_log(np.arange(50) * 60, temperatures_c=probes(lists)))).empty


@pytest.mark.parametrize(("offset", "found"), [(5.0, 0), (-8.0, 1), (8.0, 1)])
def test_a_probe_with_an_offset(clean_log: MakeLog, analyze: Analyze, offset: float, found: int) -> None:
    # Four hours in which the pack warms from 15 to 30 °C.
    seconds = np.arange(0, 4 * 3600, 120)
    pack = 15 + seconds * 15 / (4 * 3600)
    lists = np.column_stack([pack, pack + 1, pack + offset, pack + 0.5, pack - 0.5])
    result = faults(analyze(clean_log(seconds, temperatures_c=probes(lists))))
    assert result["subject"].tolist() == ["probe 3"] * found
    if found:
        # The others: mean 0.25 above the pack.
        assert result["value"].iloc[0] == pytest.approx(offset - 0.25, abs=1e-3)


def test_a_hot_end_of_the_pack_is_no_offset(clean_log: MakeLog, analyze: Analyze) -> None:
    # The gap between front and rear opens while driving and closes again.
    seconds = np.arange(0, 4 * 3600, 120)
    gap = 9 * np.sin(np.pi * seconds / (4 * 3600))
    lists = np.column_stack([20 + gap * 0, 20 + gap * 0.1, 20 + gap, 20.5 + gap * 0])
    assert faults(analyze(clean_log(seconds, temperatures_c=probes(lists)))).empty


@pytest.mark.parametrize(
    ("pack_voltage", "in_series", "found"),
    [
        (96 * 3.7, 96.0, 0),
        (96 * 3.7 * 1.04, 96.0, 1),
        (96 * 3.7, 100.0, 0),  # a wrong number in the catalogue is not a broken sensor
        (98 * 3.7, 98.0, 0),  # two cells of the list are missing
        (98 * 3.7, np.nan, 0),  # 2 %
    ],
)
def test_cells_must_add_up_to_the_pack(
    clean_log: MakeLog,
    analyze: Analyze,
    cells_of: MakeCells,
    vehicles: Callable[..., pd.DataFrame],
    pack_voltage: float,
    in_series: float,
    found: int,
) -> None:
    table = clean_log(np.arange(20) * 60, pack_current_a=0.0, pack_voltage_v=pack_voltage, cell_voltages_v=cells_of(20))
    result = faults(analyze(table, types=vehicles(cells_in_series=in_series)))
    assert result["subject"].tolist() == ["pack voltage"] * found
    if found:
        # 1 / 1.04 - 1.
        assert result["value"].iloc[0] == pytest.approx(-3.85, abs=0.01)
        assert "3.8 % less than the pack voltage in 20 readings" in result["message"].iloc[0]


def test_spikes_are_counted(clean_log: MakeLog, analyze: Analyze) -> None:
    values = np.full(30, 25.0)
    values[[5, 15]] = 80.0
    result = faults(analyze(clean_log(np.arange(30) * 10, temperature_max_c=values)))
    assert result["subject"].tolist() == ["pack temperature"]
    assert result["row_count"].tolist() == [2]


@pytest.mark.parametrize(
    ("current", "soc_to", "speed", "found"),
    [
        (0.0, 72, 40.0, 1),  # driving
        (0.0, 88, 0.0, 1),  # charging
        (0.0, 72, 0.0, 0),  # parked, with a load too small to see
        (0.0, 77, 40.0, 0),  # too little to be sure
        (-0.5, 72, 40.0, 0),
    ],
)
def test_a_frozen_current(
    clean_log: MakeLog, analyze: Analyze, current: float, soc_to: float, speed: float, found: int
) -> None:
    soc = np.round(np.linspace(80, soc_to, 120))
    table = clean_log(np.arange(120) * 30, pack_current_a=current, soc_percent=soc, speed_kmh=speed)
    result = faults(analyze(table))
    assert result["subject"].tolist() == ["pack current"] * found
    if found:
        # Eight steps of 1 %.
        assert (result["value"].tolist(), result["row_count"].tolist()) == ([8.0], [8])


def test_a_current_that_freezes_for_a_part_of_the_day(clean_log: MakeLog, analyze: Analyze) -> None:
    soc = np.linspace(40, 60, 240)
    current = np.where(np.arange(240) < 120, 20.0, 0.0)
    result = faults(analyze(clean_log(np.arange(240) * 30, pack_current_a=current, soc_percent=soc)))
    assert result["subject"].tolist() == ["pack current"]
    assert result["started_at"].tolist() == [pd.Timestamp("2026-03-10T09:00:30Z")]


def test_one_correction_at_rest_is_no_frozen_current(clean_log: MakeLog, analyze: Analyze) -> None:
    soc = np.repeat([50.0, 57.0], 60)
    assert faults(analyze(clean_log(np.arange(120) * 30, pack_current_a=0.0, soc_percent=soc))).empty


def test_soc_that_moves_between_logs_is_no_frozen_current(clean_log: MakeLog, analyze: Analyze) -> None:
    # Driven with the logger off: the steps are hours long.
    seconds = np.concatenate([np.arange(0, 300, 10) + start for start in (0, 7200, 14400, 21600, 28800)])
    soc = np.repeat([90.0, 80, 70, 60, 50], 30)
    assert faults(analyze(clean_log(seconds, pack_current_a=0.0, soc_percent=soc))).empty
