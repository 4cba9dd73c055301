"""Capacity seen through a charge."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from packwatch.analyze import DayAnalysis, capacity, sessions

MakeLog = Callable[..., pa.Table]
Analyze = Callable[..., DayAnalysis]

SIGMA_SOC = np.sqrt(2) * 2.4  # points


def charge(
    clean_log: MakeLog,
    *,
    capacity_ah: float,
    start_soc: float,
    current_a: float,
    hours: float,
    step_s: float = 10.0,
    displayed_step: float = 1.0,
    **columns: object,
) -> pa.Table:
    """A steady charge of a pack of `capacity_ah`, whose SoC is displayed in steps, rounded down."""
    seconds = np.arange(0, hours * 3600 + step_s / 2, step_s)
    soc = start_soc + 100 * current_a * seconds / 3600 / capacity_ah
    shown = np.floor(soc / displayed_step + 1e-9) * displayed_step
    values: dict[str, object] = {
        "pack_current_a": current_a,
        "pack_voltage_v": 380.0,
        "soc_percent": shown,
        "charge_state": "charging",
    }
    return clean_log(seconds, **(values | columns))


@pytest.mark.parametrize("start_soc", [20.03, 20.5, 20.97])
@pytest.mark.parametrize("capacity_ah", [62.3, 100.0])
def test_whole_percents_recover_the_capacity(
    clean_log: MakeLog, analyze: Analyze, capacity_ah: float, start_soc: float
) -> None:
    # 40 points at 1 %: raw ends are off by up to a point, that is 2.5 %. A tick is off by at most half a step of
    # 10 s * 30 A = 0.083 Ah at either end, of 25 Ah and more: 0.3 %.
    table = charge(
        clean_log, capacity_ah=capacity_ah, start_soc=start_soc, current_a=30.0, hours=0.4 * capacity_ah / 30
    )
    found = analyze(table).sessions.iloc[0]
    assert found["observed_capacity_ah"] == pytest.approx(capacity_ah, rel=0.003)
    # 40 points hold 39 or 40 ticks between the first and the last.
    assert found["observed_soc_delta_percent"] in (38.0, 39.0)
    raw = found["charge_ah"] / (found["soc_end_percent"] - found["soc_start_percent"]) * 100
    assert abs(found["observed_capacity_ah"] - capacity_ah) <= abs(raw - capacity_ah) + 0.003 * capacity_ah


def test_sigma_is_the_soc_error_of_both_ends(clean_log: MakeLog, analyze: Analyze) -> None:
    table = charge(clean_log, capacity_ah=100.0, start_soc=20.5, current_a=50.0, hours=1.0, step_s=1.0)
    found = analyze(table).sessions.iloc[0]
    # 20.5 to 70.5 %: ticks at 21 and 70, 49 points. sqrt(2) * 2.4 / 49 = 6.9 % of 100 Ah; one second of jitter at
    # 50 A (0.004 Ah of 49) is nothing beside it.
    assert found["observed_soc_delta_percent"] == 49.0
    assert found["observed_capacity_sigma_ah"] == pytest.approx(SIGMA_SOC / 49 * 100, rel=1e-3)


def test_a_finely_resolved_soc_uses_the_whole_session(clean_log: MakeLog, analyze: Analyze) -> None:
    # 302 s and 0.0001 %, as LeafSpy polls: 70 A over 6 steps are 35.23 Ah, 20.97 % of 168 Ah.
    table = charge(
        clean_log,
        capacity_ah=168.0,
        start_soc=22.0498,
        current_a=70.0,
        hours=6 * 302 / 3600,
        step_s=302,
        displayed_step=1e-4,
    )
    found = analyze(table).sessions.iloc[0]
    assert found["observed_soc_delta_percent"] == pytest.approx(35.2333 / 168 * 100, abs=2e-4)
    assert found["observed_capacity_ah"] == pytest.approx(168.0, rel=1e-4)
    # One step of 5.87 Ah, a fifth of it unseen: 1.17 of 35.2 Ah = 3.3 %, beside 3.39 / 20.97 = 16.2 %.
    expected = 168 * np.hypot(SIGMA_SOC / 20.97, 0.2 / 6)
    assert found["observed_capacity_sigma_ah"] == pytest.approx(expected, rel=1e-3)


def test_skipped_steps_are_placed_later_in_the_interval(clean_log: MakeLog, analyze: Analyze) -> None:
    # 4.2 points a sample, whole percents: every threshold lies within the last of 4 or 5 steps.
    table = charge(clean_log, capacity_ah=100.0, start_soc=10.3, current_a=50.4, hours=1.5, step_s=300)
    found = analyze(table).sessions.iloc[0]
    assert found["observed_capacity_ah"] == pytest.approx(100.0, rel=0.01)


def test_eight_bit_steps_are_recognized(clean_log: MakeLog, analyze: Analyze) -> None:
    table = charge(clean_log, capacity_ah=80.0, start_soc=30.1, current_a=40.0, hours=0.8, displayed_step=100 / 255)
    assert analyze(table).sessions.iloc[0]["observed_capacity_ah"] == pytest.approx(80.0, rel=0.003)


def test_flicker_at_a_threshold_and_a_correction_down_are_no_ticks(clean_log: MakeLog, analyze: Analyze) -> None:
    seconds = np.arange(0, 3601, 10)
    soc = np.floor(20.5 + seconds / 72)
    soc[40:44] = [23, 26, 23, 26]
    soc[-3:] = 69  # the BMS takes a point back after the last tick (70 % at 3564 s)
    table = clean_log(seconds, pack_current_a=50.0, pack_voltage_v=400.0, soc_percent=soc, charge_state="charging")
    assert analyze(table).sessions.iloc[0]["observed_capacity_ah"] == pytest.approx(100.0, rel=0.005)


@pytest.mark.parametrize(("points", "seen"), [(9.9, False), (12.5, True)])
def test_narrow_windows_are_not_observed(clean_log: MakeLog, analyze: Analyze, points: float, seen: bool) -> None:
    table = charge(clean_log, capacity_ah=100.0, start_soc=40.5, current_a=20.0, hours=points / 20)
    assert np.isfinite(analyze(table).sessions.iloc[0]["observed_capacity_ah"]) == seen


def test_driving_is_not_observed(clean_log: MakeLog, analyze: Analyze) -> None:
    seconds = np.arange(0, 3601, 1)
    table = clean_log(
        seconds, pack_current_a=-50.0, pack_voltage_v=360.0, soc_percent=90 - seconds / 72, speed_kmh=80.0
    )
    found = analyze(table).sessions.iloc[0]
    assert found["kind"] == "discharge"
    assert np.isnan(found["observed_capacity_ah"])


def test_a_hole_in_the_current_leaves_the_wider_side(clean_log: MakeLog, analyze: Analyze) -> None:
    table = charge(clean_log, capacity_ah=100.0, start_soc=20.5, current_a=50.0, hours=1.0)
    current = table["pack_current_a"].to_numpy().copy()
    current[100:110] = np.nan  # 1000 to 1090 s: 110 s without a current, from 34.25 to 35.8 %
    holed = table.set_column(
        table.column_names.index("pack_current_a"), "pack_current_a", pa.array(current, from_pandas=True)
    )
    found = analyze(holed).sessions.iloc[0]
    # After the hole: ticks from 36 (second 1116) to 70 %.
    assert found["observed_soc_delta_percent"] == 34.0
    assert found["observed_capacity_ah"] == pytest.approx(100.0, rel=0.005)
    assert found["quality_flags"] & sessions.CURRENT_MISSING


def test_too_few_currents_are_not_observed(clean_log: MakeLog, analyze: Analyze) -> None:
    seconds = np.arange(0, 3601, 10)
    current = np.where(seconds % 50 == 0, 50.0, np.nan)  # every fifth row
    table = clean_log(
        seconds, pack_current_a=current, pack_voltage_v=400.0, soc_percent=20 + seconds / 72, charge_state="charging"
    )
    found = analyze(table).sessions.iloc[0]
    assert found["charge_ah"] == pytest.approx(50.0)
    assert np.isnan(found["observed_capacity_ah"])


def test_a_jump_of_the_soc_widens_sigma(clean_log: MakeLog, analyze: Analyze) -> None:
    seconds = np.arange(0, 3601, 10)
    soc = 20 + seconds / 72 + np.where(seconds >= 1800, 5.0, 0.0)
    table = clean_log(seconds, pack_current_a=50.0, pack_voltage_v=400.0, soc_percent=soc, charge_state="charging")
    found = analyze(table).sessions.iloc[0]
    # 55 points shown for 50 Ah. The jump of 5 points enters the error of the difference: hypot(3.39, 5) / 55.
    assert found["quality_flags"] & sessions.SOC_JUMP
    relative = found["observed_capacity_sigma_ah"] / found["observed_capacity_ah"]
    assert relative == pytest.approx(np.hypot(SIGMA_SOC, 5) / 55, rel=0.01)


def test_lfp_on_its_plateau_is_less_certain(
    clean_log: MakeLog, analyze: Analyze, vehicles: Callable[..., pd.DataFrame]
) -> None:
    table = charge(clean_log, capacity_ah=100.0, start_soc=20.5, current_a=50.0, hours=1.0, step_s=1.0)
    found = analyze(table, types=vehicles(chemistry="LFP")).sessions.iloc[0]
    # sqrt(2) * 5 points over 49.
    assert found["observed_capacity_sigma_ah"] == pytest.approx(np.sqrt(2) * 5 / 49 * 100, rel=1e-3)


@pytest.mark.parametrize(
    ("end_current", "soc_end", "full"), [(5.0, 100.0, True), (5.0, 96.0, False), (40.0, 100.0, False)]
)
def test_full_means_tapered_at_the_top(
    clean_log: MakeLog, analyze: Analyze, end_current: float, soc_end: float, full: bool
) -> None:
    current = np.concatenate([np.full(50, 50.0), np.linspace(50, end_current, 11)])
    soc = np.linspace(soc_end - 45, soc_end, 61)
    table = clean_log(
        np.arange(61) * 60, pack_current_a=current, pack_voltage_v=400.0, soc_percent=soc, charge_state="charging"
    )
    assert analyze(table).sessions["full_charge"].tolist() == [full]


def test_no_sessions_no_observations(clean_log: MakeLog) -> None:
    from packwatch.analyze import conditioning, flows

    rows, names = conditioning.read_rows(clean_log([0, 1], pack_current_a=1.0))
    steps = conditioning.measure_steps(rows, conditioning.vehicle_days(rows))
    specs = conditioning.read_specs(
        pd.DataFrame(
            columns=[
                "vehicle_id",
                "chemistry",
                "cells_in_series",
                "capacity_nominal_ah",
                "nominal_voltage_v",
                "cell_voltage_limit_max_v",
            ]
        ),
        names,
    )
    nothing = np.zeros(0, dtype=np.int64)
    observed = capacity.observe_capacity(
        rows,
        flows.integrate(rows, steps, specs),
        steps,
        nothing,
        nothing,
        sampling_s=nothing.astype(float),
        lfp=nothing.astype(bool),
        nominal_ah=nothing.astype(float),
    )
    assert len(observed.capacity_ah) == 0
