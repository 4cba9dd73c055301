"""Hourly readings of cells, and what counts as quasi-static."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from packwatch.analyze import DayAnalysis, cells, conditioning

MakeLog = Callable[..., pa.Table]
Analyze = Callable[..., DayAnalysis]
MakeCells = Callable[..., pa.Array]


def test_cells_are_averaged_by_the_hour(clean_log: MakeLog, analyze: Analyze) -> None:
    # Two rows before nine, one after.
    table = clean_log(
        [3500, 3590, 3610],
        cell_voltages_v=[[3.5, 3.75], [3.5, 4.25], [4.0, 4.0]],
        temperatures_c=[[20], [22], [30]],
    )
    found = analyze(table).cells
    assert found["time"].tolist() == [pd.Timestamp("2026-03-10T08:00Z")] * 2 + [pd.Timestamp("2026-03-10T09:00Z")] * 2
    assert found["cell_id"].tolist() == ["1", "2", "1", "2"]
    assert found["voltage"].tolist() == [3.5, 4.0, 4.0, 4.0]
    assert found["voltage_min"].tolist() == [3.5, 3.75, 4.0, 4.0]
    assert found["voltage_max"].tolist() == [3.5, 4.25, 4.0, 4.0]
    assert found["reading_count"].tolist() == [2, 2, 1, 1]
    # Row means 3.625 and 3.875: deviations of cell 1 -125 and -375 mV.
    assert found["deviation_mv"].tolist() == pytest.approx([-250, 250, 0, 0])
    assert found["temperature"].tolist() == [21.0, 21.0, 30.0, 30.0]
    assert found["internal_resistance"].isna().all()


def test_the_interval_is_a_choice(clean_log: MakeLog, analyze: Analyze, cells_of: MakeCells) -> None:
    table = clean_log([0, 899, 900], cell_voltages_v=cells_of(3, 2))
    times = analyze(table, interval_s=900).cells["time"].unique()
    assert times.tolist() == [pd.Timestamp("2026-03-10T08:00Z"), pd.Timestamp("2026-03-10T08:15Z")]


def test_an_interval_that_does_not_divide_the_day_starts_anew_at_midnight(
    clean_log: MakeLog, analyze: Analyze, cells_of: MakeCells
) -> None:
    table = clean_log([-1, 0], start="2026-03-11T00:00", cell_voltages_v=cells_of(2, 1))
    times = analyze(table, date(2026, 3, 10), date(2026, 3, 11), interval_s=7 * 3600).cells["time"]
    assert times.tolist() == [pd.Timestamp("2026-03-10T21:00Z"), pd.Timestamp("2026-03-11T00:00Z")]


def test_packs_of_different_size_together(
    clean_log: MakeLog, analyze: Analyze, cells_of: MakeCells, vehicles: Callable[..., pd.DataFrame]
) -> None:
    sizes = {"a": 84, "b": 126, "c": 96}
    table = pa.concat_tables(
        [clean_log(range(5), vehicle_id=name, cell_voltages_v=cells_of(5, size)) for name, size in sizes.items()]
    )
    found = analyze(table, types=vehicles(*sizes)).cells
    assert found.groupby("vehicle_id")["cell_id"].count().to_dict() == sizes
    assert found["voltage"].tolist() == pytest.approx([float(np.float32(3.7))] * 306)


def test_each_cell_takes_the_probe_at_its_place(clean_log: MakeLog, analyze: Analyze, cells_of: MakeCells) -> None:
    table = clean_log([0], cell_voltages_v=cells_of(1, 6), temperatures_c=[[10, 20]])
    # Middles of six cells are 1/12, 3/12 ... 11/12 of the pack; the first probe stands for the first half.
    assert analyze(table).cells["temperature"].tolist() == [10, 10, 10, 20, 20, 20]


def test_without_probes_there_is_no_temperature(clean_log: MakeLog, analyze: Analyze, cells_of: MakeCells) -> None:
    assert analyze(clean_log([0], cell_voltages_v=cells_of(1, 3))).cells["temperature"].isna().all()


def test_context_rows_are_not_reported(clean_log: MakeLog, analyze: Analyze, cells_of: MakeCells) -> None:
    table = clean_log([-1, 0, 1], start="2026-03-10T00:00", cell_voltages_v=cells_of(3, 2))
    assert analyze(table).cells["reading_count"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("current", "state", "quiet"),
    [
        ([0.0, 0.0], [None, None], [True, True]),
        ([14.9, -14.9], [None, None], [True, True]),  # 0.15 C of 100 Ah
        ([0.0, 15.0], [None, None], [True, False]),
        ([80.0, 0.0], [None, None], [False, False]),  # the load was on ten seconds ago
        ([None, None], ["parked", "driving"], [True, False]),
    ],
)
def test_quasi_static_rows(
    clean_log: MakeLog,
    vehicles: Callable[..., pd.DataFrame],
    current: list[float | None],
    state: list[str | None],
    quiet: list[bool],
) -> None:
    rows, names = conditioning.read_rows(clean_log([0, 10], pack_current_a=current, charge_state=state))
    assert cells.quiet_rows(rows, conditioning.read_specs(vehicles(), names)).tolist() == quiet


def test_a_load_an_hour_ago_has_settled(clean_log: MakeLog, vehicles: Callable[..., pd.DataFrame]) -> None:
    rows, names = conditioning.read_rows(clean_log([0, 3600], pack_current_a=[80.0, 0.0]))
    assert cells.quiet_rows(rows, conditioning.read_specs(vehicles(), names)).tolist() == [False, True]
