"""What goes wrong between a sensor and the lake: rows that are bad, doubled, missing or out of order, and broken files.

Works on the table of one file before it is written, and counts everything it does: the truth file lists it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

DAY_S = 86_400
CLEAN_FILES = 0.45  # share of files without a single bad row
BAD_SHARE = (0.008, 0.05)  # share of bad rows in the others
BAD_RUN_ROWS = 6  # bad rows come in runs of up to this length, as a bus that wakes up sends them
DUPLICATE_FILES, DUPLICATE_SHARE = 0.25, (0.005, 0.04)
SHUFFLED_FILES, SHUFFLED_SHARE = 0.10, (0.02, 0.10)
GAP_FILES, GAP_S = 0.08, (480, 2700)
ZERO_ODOMETER_FILES, ZERO_ODOMETER_ROWS = 0.5, 8

TEMPERATURE_SENTINEL_C = 255.0
CELL_SENTINEL_V = 65.535
SOC_SENTINEL_PERCENT = 127.0
ODOMETER_SENTINEL_KM = 16_777_215.0  # 24 bits, all set
FUTURE = datetime(2099, 1, 1, tzinfo=UTC)

# Kind of bad row: column that is wrong, and the reason code under which the row ought to be quarantined.
UNREAD_CELL = "cell_sentinel"
BAD_KINDS: dict[str, str] = {
    "temperature_sentinel": "temperature_max_c_out_of_range",
    UNREAD_CELL: "cell_voltage_max_v_out_of_range",
    "soc_sentinel": "soc_percent_out_of_range",
    "odometer_sentinel": "odometer_km_out_of_range",
    "clock_reset": "time_too_early",
    "clock_ahead": "time_in_future",
}


@dataclass
class Dirt:
    """What was done to one file's rows: bad rows by expected reason, and the others by number."""

    bad_rows: dict[str, int] = field(default_factory=dict)
    duplicate_rows: int = 0
    lost_rows: int = 0
    out_of_order_rows: int = 0
    zero_odometer_rows: int = 0


def soil(
    table: pa.Table, rng: np.random.Generator, first_s: int, *, gaps: bool, leafspy: bool
) -> tuple[pa.Table, Dirt]:
    """Return the rows of a file as they arrive, and what was done to them.

    Args:
        table: clean rows in time order.
        rng: source of all choices.
        first_s: first second of the simulated period; clocks that were reset count from there.
        gaps: whether stretches may be lost.
        leafspy: whether the file is a LeafSpy log, in which an odometer of 0 and a cell of 65.535 V are no errors but
            the format's way to say that nothing was read.
    """
    dirt = Dirt()
    if len(table) < 20:
        return table, dirt
    if gaps and rng.uniform() < GAP_FILES:
        table = _lose(table, rng, dirt)
    if leafspy and rng.uniform() < ZERO_ODOMETER_FILES:
        table = _zero_odometer(table, rng, dirt)
    bad = np.zeros(len(table), dtype=bool)
    if rng.uniform() >= CLEAN_FILES:
        table, bad = _spoil(
            table, rng, first_s, [kind for kind in BAD_KINDS if not (leafspy and kind == UNREAD_CELL)], dirt
        )
    order = np.arange(len(table))
    if rng.uniform() < SHUFFLED_FILES:
        order = _shuffle(order, rng, dirt)
    if rng.uniform() < DUPLICATE_FILES:
        order = _repeat(order, bad, rng, dirt)
    return table.take(pa.array(order)), dirt


def _lose(table: pa.Table, rng: np.random.Generator, dirt: Dirt) -> pa.Table:
    """Drop all rows of one stretch of 8 to 45 minutes."""
    seconds = table["recorded_at"].cast(pa.int64()).to_numpy() / 1000
    start = seconds[int(rng.integers(len(seconds)))]
    lost = (seconds >= start) & (seconds < start + rng.uniform(*GAP_S))
    dirt.lost_rows = int(lost.sum())
    return table.filter(pa.array(~lost))


def _zero_odometer(table: pa.Table, rng: np.random.Generator, dirt: Dirt) -> pa.Table:
    """Set the odometer of a few rows in a row to 0, the format's way to say that it was not read."""
    start = int(rng.integers(len(table) - ZERO_ODOMETER_ROWS))
    values = table["odometer_km"].to_numpy().copy()
    values[start : start + ZERO_ODOMETER_ROWS] = 0
    dirt.zero_odometer_rows = ZERO_ODOMETER_ROWS
    return _replace(table, "odometer_km", pa.array(values))


def _spoil(
    table: pa.Table, rng: np.random.Generator, first_s: int, kinds: list[str], dirt: Dirt
) -> tuple[pa.Table, np.ndarray]:
    """Make some rows bad, each in exactly one way; return the table and which rows."""
    rows = len(table)
    runs = max(1, int(rows * rng.uniform(*BAD_SHARE) / (BAD_RUN_ROWS / 2)))
    starts = rng.integers(0, rows, runs)
    lengths = rng.integers(1, BAD_RUN_ROWS + 1, runs)
    drawn = rng.integers(0, len(kinds), runs)
    # Later runs overwrite earlier ones: a row is bad in one way only.
    kind_of = np.full(rows, -1)
    covered = np.repeat(starts, lengths) + np.concatenate([np.arange(length) for length in lengths])
    inside = covered < rows
    kind_of[covered[inside]] = np.repeat(drawn, lengths)[inside]
    for number, name in enumerate(kinds):
        chosen = kind_of == number
        if chosen.any():
            table = _spoil_rows(table, name, chosen, rng, first_s)
            reason = BAD_KINDS[name]
            dirt.bad_rows[reason] = dirt.bad_rows.get(reason, 0) + int(chosen.sum())
    return table, kind_of >= 0


def _spoil_rows(table: pa.Table, kind: str, rows: np.ndarray, rng: np.random.Generator, first_s: int) -> pa.Table:
    """Make the chosen rows bad in the given way."""
    if kind == "temperature_sentinel":
        table = _set(table, "temperature_max_c", rows, TEMPERATURE_SENTINEL_C)
        return _set_element(table, "temperatures_c", rows, TEMPERATURE_SENTINEL_C, rng)
    if kind == UNREAD_CELL:
        table = _set(table, "cell_voltage_max_v", rows, CELL_SENTINEL_V)
        return _set_element(table, "cell_voltages_v", rows, CELL_SENTINEL_V, rng)
    if kind == "soc_sentinel":
        return _set(table, "soc_percent", rows, SOC_SENTINEL_PERCENT)
    if kind == "odometer_sentinel":
        return _set(table, "odometer_km", rows, ODOMETER_SENTINEL_KM)
    # A clock that was reset counts from 2 January 1970, so that its first second is not mistaken for a missing time.
    shift_s = DAY_S - first_s if kind == "clock_reset" else int(FUTURE.timestamp()) - first_s
    times = table["recorded_at"].cast(pa.int64()).to_numpy()
    moved = pa.array(np.where(rows, times + shift_s * 1000, times)).cast(table.schema.field("recorded_at").type)
    return _replace(table, "recorded_at", moved)


def _set(table: pa.Table, name: str, rows: np.ndarray, value: float) -> pa.Table:
    values = table[name].to_numpy().copy()
    values[rows] = value
    return _replace(table, name, pa.array(values))


def _set_element(table: pa.Table, name: str, rows: np.ndarray, value: float, rng: np.random.Generator) -> pa.Table:
    """Set one element of a list column in the chosen rows; a column without lists stays."""
    column = table[name].combine_chunks()
    if column.null_count == len(column):
        return table
    flat = column.flatten().to_numpy().copy()
    width = len(flat) // len(column)
    flat[np.flatnonzero(rows) * width + int(rng.integers(width))] = np.float32(value)
    offsets = np.arange(0, len(flat) + 1, width, dtype=np.int32)
    return _replace(table, name, pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, pa.float32())))


def _replace(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), table.schema.field(name), values)


def _shuffle(order: np.ndarray, rng: np.random.Generator, dirt: Dirt) -> np.ndarray:
    """Send one stretch of rows after a later one, as a buffer that is flushed too late does."""
    length = max(2, int(len(order) * rng.uniform(*SHUFFLED_SHARE)))
    start = int(rng.integers(0, len(order) - 2 * length)) if len(order) > 2 * length else 0
    swapped = order.copy()
    swapped[start : start + 2 * length] = np.roll(order[start : start + 2 * length], length)
    dirt.out_of_order_rows = length
    return swapped


def _repeat(order: np.ndarray, bad: np.ndarray, rng: np.random.Generator, dirt: Dirt) -> np.ndarray:
    """Send one stretch of good rows twice, as a gateway that missed the acknowledgement does."""
    length = max(1, int(len(order) * rng.uniform(*DUPLICATE_SHARE)))
    start = int(rng.integers(0, len(order) - length))
    again = order[start : start + length]
    again = again[~bad[again]]
    dirt.duplicate_rows = len(again)
    return np.concatenate([order[: start + length], again, order[start + length :]])


PETROL_HEADER = (
    "Time,Engine RPM (rpm),Vehicle speed (km/h),Coolant temperature (°C),Fuel level (%),Intake air flow (g/s)"
)


def petrol_log(rng: np.random.Generator, rows: int = 120) -> bytes:
    """Return a log of a petrol car: a sound CSV that is none of an electric vehicle."""
    rpm = np.round(rng.uniform(750, 3200, rows)).astype(int)
    speed = np.round(rng.uniform(0, 90, rows)).astype(int)
    coolant = np.round(np.linspace(42, 89, rows)).astype(int)
    flow = np.round(rpm / 160 + rng.uniform(0, 4, rows), 2)
    lines = [
        f"00:{second // 60:02d}:{second % 60:02d},{a},{b},{c},61,{d}"
        for second, (a, b, c, d) in enumerate(zip(rpm, speed, coolant, flow, strict=True))
    ]
    return ("\n".join([PETROL_HEADER, *lines]) + "\n").encode()


def cut_line(text: bytes, line: int) -> bytes:
    """Return the text with the second half of one line missing (line 0 is the first), its end of line kept."""
    lines = text.split(b"\n")
    lines[line] = lines[line][: len(lines[line]) // 2]
    return b"\n".join(lines)
