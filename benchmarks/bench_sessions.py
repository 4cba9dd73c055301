"""How fast clean rows become sessions on one core, next to merely reading them.

    PYTHONPATH=include python benchmarks/bench_sessions.py --rows 2000000

Writes a synthetic fleet (10 s sampling, three days, every day a target) as Parquet to a temporary folder and measures,
in one process on one core: (a) reading it, (b) reading it and finding the sessions, (c) reading it and the whole
analysis. The second table repeats that with the voltage of 96 cells and eight probes in each row. Best of several runs;
speed and ratio go by core time, which other programs on the machine do not change much.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from packwatch.analyze import analyze_rows
from packwatch.analyze.analysis import EPOCH, load_rows, sessions_of
from packwatch.schema import CLEAN_SCHEMA, conform

FIRST_DAY = date(2026, 3, 9)
DAYS = 3
STEP_S = 10
# 7.2 h a day are logged: drive 30 %, park 20 %, charge 40 %, park 10 %.
ROWS_A_DAY = 2592
CAPACITY_AH = 150.0
CELLS = 96
PROBES = 8
# Rows with cell lists are measured with fewer rows: each is about twenty times as large.
CELL_ROWS_SHARE = 1 / 8


def make_rows(rows: int, seed: int = 0, *, cells: bool = False) -> pa.Table:
    """Make about `rows` clean rows of a healthy fleet; the number of vehicles follows."""
    generator = np.random.default_rng(seed)
    vehicles = max(1, round(rows / (ROWS_A_DAY * DAYS)))
    shape = (vehicles, DAYS, ROWS_A_DAY)
    phase = np.broadcast_to(np.arange(ROWS_A_DAY) / ROWS_A_DAY, shape)
    driving, charging = phase < 0.3, (phase >= 0.5) & (phase < 0.9)
    current = np.where(driving, generator.normal(-37, 40, shape), np.where(charging, 27.6, -0.3)).round(1)
    soc = 80 + np.cumsum(current, axis=2) * STEP_S / 3600 / CAPACITY_AH * 100
    start_ms = (FIRST_DAY - EPOCH).days * 86_400_000 + 6 * 3_600_000
    time_ms = start_ms + np.arange(DAYS)[:, None] * 86_400_000 + np.arange(ROWS_A_DAY) * STEP_S * 1000
    count = current.size
    cell_v = 3.4 + soc.ravel() / 125
    temperature = (25 + 5 * np.sin(phase * 6) + generator.normal(0, 0.2, shape)).round(1).ravel()
    states = np.where(driving, 0, np.where(charging, 1, 2)).ravel()
    columns = {
        "vehicle_id": pa.array([f"{number:08x}-0000-5000-8000-000000000000" for number in range(vehicles)])
        .take(pa.array(np.repeat(np.arange(vehicles), DAYS * ROWS_A_DAY)))
        .cast(pa.string()),
        "recorded_at": pa.array(np.broadcast_to(time_ms, shape).ravel()).cast(pa.timestamp("ms", "UTC")),
        "pack_voltage_v": (CELLS * cell_v + 0.1 * current.ravel()).round(1),
        "pack_current_a": current.ravel(),
        "soc_percent": np.floor(np.clip(soc, 0, 100)).ravel(),
        "speed_kmh": np.where(driving, generator.normal(70, 15, shape).round(1), 0.0).ravel(),
        "odometer_km": 20_000 + np.floor(np.cumsum(driving.reshape(vehicles, -1), axis=1) * 0.2).ravel(),
        "cell_voltage_min_v": (cell_v - 0.006).round(3),
        "cell_voltage_max_v": (cell_v + 0.006).round(3),
        "temperature_min_c": temperature - 2,
        "temperature_max_c": temperature,
        "ambient_temperature_c": np.full(count, 12.0),
        "charge_state": pa.array(["driving", "charging", "parked"]).take(pa.array(states)),
        "insulation_resistance_kohm": np.full(count, 3000.0),
        "source_object": pa.repeat("raw/ingest_date=2026-03-12/fleet.parquet", count),
        "source_row": np.arange(1, count + 1),
    }
    if cells:
        voltages = (cell_v[:, None] + generator.normal(0, 0.002, (count, CELLS))).round(3)
        probes = (temperature[:, None] - 2 * generator.random((count, PROBES))).round()
        columns["cell_voltages_v"] = _as_lists(voltages)
        columns["temperatures_c"] = _as_lists(probes)
    return conform(pa.table(columns), CLEAN_SCHEMA)


def _as_lists(matrix: np.ndarray) -> pa.ListArray:
    count, width = matrix.shape
    offsets = np.arange(0, count * width + 1, width, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(matrix.ravel().astype(np.float32)))


def vehicles_of(table: pa.Table) -> pd.DataFrame:
    """Return the vehicles frame of a fleet of one type."""
    return pd.DataFrame(
        {
            "vehicle_id": table["vehicle_id"].unique().to_pylist(),
            "chemistry": "NMC",
            "cells_in_series": float(CELLS),
            "capacity_nominal_ah": CAPACITY_AH,
            "nominal_voltage_v": 350.0,
            "cell_voltage_limit_max_v": 4.2,
        }
    )


def best_run(work: Callable[[], object], repeat: int) -> tuple[float, float]:
    """Return core time and wall time of the run of `work` that took the least core time, s."""
    runs = []
    for _ in range(repeat):
        wall, core = time.perf_counter(), time.process_time()
        work()
        runs.append((time.process_time() - core, time.perf_counter() - wall))
    return min(runs)


def measure(title: str, table: pa.Table, folder: Path, repeat: int) -> None:
    """Measure one fleet and print a table."""
    path = folder / "rows.parquet"
    pq.write_table(table, path, compression="zstd")
    rows, vehicles = len(table), vehicles_of(table)
    last_day = FIRST_DAY + timedelta(days=DAYS - 1)
    first, last = (FIRST_DAY - EPOCH).days, (last_day - EPOCH).days
    del table

    def read() -> pa.Table:
        return pq.read_table(path)

    found = len(sessions_of(load_rows(read(), vehicles), first, last))
    steps = {
        "(a) read Parquet": lambda: read(),
        "(b) read + rows to sessions": lambda: sessions_of(load_rows(read(), vehicles), first, last),
        "(c) read + whole analysis": lambda: analyze_rows(read(), vehicles, FIRST_DAY, last_day),
    }
    seconds = {name: best_run(work, repeat) for name, work in steps.items()}
    base = seconds["(a) read Parquet"][0]
    print(f"\n{title}: {rows:,} rows, {len(vehicles):,} vehicles, {DAYS} days, {found:,} sessions, ", end="")
    print(f"{path.stat().st_size / 1e6:.0f} MB")
    print(f"{'':30}{'core s':>9}{'wall s':>9}{'rows / core s':>15}{'ratio to (a)':>14}")
    for name, (core, wall) in seconds.items():
        print(f"{name:30}{core:>9.3f}{wall:>9.3f}{rows / core:>15,.0f}{core / base:>14.2f}")


def use_one_core() -> None:
    """Let Arrow use one thread; NumPy and pandas use no more here."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)


def main() -> None:
    """Measure fleets without and with cell lists."""
    parser = argparse.ArgumentParser(description="Speed of rows to sessions on one core.")
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows without cell lists (default 2000000)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each measurement; the best counts (default 3)")
    arguments = parser.parse_args()
    if arguments.rows < 1 or arguments.repeat < 1:
        parser.error("--rows and --repeat must be at least 1")
    use_one_core()
    with tempfile.TemporaryDirectory() as folder:
        measure("Without cell lists", make_rows(arguments.rows), Path(folder), arguments.repeat)
        cell_rows = round(arguments.rows * CELL_ROWS_SHARE)
        measure(f"With {CELLS} cells", make_rows(cell_rows, cells=True), Path(folder), arguments.repeat)


if __name__ == "__main__":
    main()
