"""Every fault is visible in what the vehicle logs, where and when the truth says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from packwatch.simulate.faults import KINDS, describe, drift_share, leak_current_ma
from packwatch.simulate.fleet import TAXI
from packwatch.simulate.pack import AC, DC

Make = Callable[..., Any]


def deviation_mv(made: Any, number: int) -> np.ndarray:
    """Return how far a cell lies from the mean of its row, mV."""
    cells = made.matrix("cell_voltages_v")
    return 1000 * (cells[:, number - 1] - cells.mean(axis=1))


def at_rest(made: Any) -> np.ndarray:
    """Return the rows with little current at a middling charge."""
    return (np.abs(made.log.current_a) < 2) & (made.log.soc > 0.35) & (made.log.soc < 0.9)


def test_drifting_cell_falls_behind_day_by_day(simulated: Make) -> None:
    made = simulated("Zoe ZE50", "drifting_cell", days=7)
    fault = made.log.faults[0]
    deviation, rest = deviation_mv(made, fault.number), at_rest(made)
    day = (made.log.time_s - made.log.time_s[0]) // 86_400
    daily = np.array([np.median(deviation[rest & (day == one)]) for one in range(7) if (rest & (day == one)).any()])
    assert -60 < daily[0] < -20
    assert daily[-1] < -100
    cells = made.matrix("cell_voltages_v")
    others = np.delete(1000 * (cells - cells.mean(axis=1, keepdims=True)), fault.number - 1, axis=1)
    assert np.abs(np.median(others[rest], axis=0)).max() < 10


def test_drift_is_a_constant_leak(simulated: Make) -> None:
    fault = simulated("Zoe ZE50", "drifting_cell", days=7).log.faults[0]
    share = drift_share(fault, np.array([0, 50, 100]), 0, 100)
    assert share == pytest.approx([0.05, (0.05 + fault.value) / 2, fault.value])
    # 16 % of 100 Ah in 7 days: 16 Ah / 168 h = 95 mA when the share goes from 5 to 21 %
    assert leak_current_ma(fault, 100.0, 7) == pytest.approx(1000 * (fault.value - 0.05) * 100 / 168)


def test_weak_cell_lags_more_the_emptier_the_pack(simulated: Make) -> None:
    made = simulated("i3 120 Ah", "weak_cell")
    deviation = deviation_mv(made, made.log.faults[0].number)
    rest = np.abs(made.log.current_a) < 2
    low = np.median(deviation[rest & (made.log.soc < 0.5)])
    high = np.median(deviation[rest & (made.log.soc > 0.75)])
    assert low < -30
    assert high > low + 10
    # the pack is as small as its weakest cell
    assert made.log.packs[0].cell_capacity_ah.min() == pytest.approx(made.vehicle.capacity_ah)
    assert np.median(made.log.packs[0].cell_capacity_ah) > 1.12 * made.vehicle.capacity_ah


def test_high_resistance_cell_shows_under_load_only(simulated: Make) -> None:
    made = simulated("i3 120 Ah", "high_resistance_cell")
    deviation = deviation_mv(made, made.log.faults[0].number)
    current = made.log.current_a
    assert np.median(deviation[current < -60]) < -40
    resting = (current > -1) & (current < 1) & (np.roll(current, 3) < 1) & (np.roll(current, 3) > -1)
    assert abs(np.median(deviation[resting])) < 8


def test_hot_spot_shows_under_load_only(simulated: Make) -> None:
    made = simulated("Kona 64", "hot_spot", habit=TAXI)
    probes = made.matrix("temperatures_c")
    number = made.log.faults[0].number
    excess = probes[:, number - 1] - np.median(np.delete(probes, number - 1, axis=1), axis=1)
    assert 8 <= excess.max() <= 15
    parked_long = (made.log.state == 0) & (np.abs(np.roll(made.log.current_a, 8)) < 1)
    assert np.median(excess[parked_long]) < 2.5


def test_thermal_event_rises_fast_to_over_60_degrees(simulated: Make) -> None:
    made = simulated("ID.3 Pro", "thermal_event")
    fault = made.log.faults[0]
    probe = made.matrix("temperatures_c")[:, fault.number - 1]
    peak = int(np.argmax(probe))
    assert probe[peak] >= 60
    assert made.log.time_s[peak] == pytest.approx(fault.end_s, abs=30)
    assert made.log.state[peak] == DC
    before = (made.log.time_s > fault.end_s - 200) & (made.log.time_s <= fault.end_s)
    rate = (probe[before][-1] - probe[before][0]) / (made.log.time_s[before][-1] - made.log.time_s[before][0])
    assert rate > 0.05  # K/s, sustained over more than a minute
    assert probe[made.log.time_s < fault.onset_s].max() < 40


def test_insulation_falls_below_100_ohm_per_volt(simulated: Make) -> None:
    made = simulated("Kona 64", "insulation_decay")
    ohm_per_volt = 1000 * made.numbers("insulation_resistance_kohm") / made.numbers("pack_voltage_v")
    early = made.log.time_s < made.log.faults[0].onset_s
    assert ohm_per_volt[early].min() > 500
    assert ohm_per_volt[-10:].max() < 100


def test_aged_vehicle_is_near_70_percent(simulated: Make) -> None:
    made = simulated("Kona 64", "aged")
    current, soc = made.log.current_a, made.log.soc
    charging = np.isin(made.log.state, (AC, DC))
    edges = np.flatnonzero(np.diff(charging.astype(int), prepend=0, append=0))
    widest = max(zip(edges[::2], edges[1::2], strict=True), key=lambda span: soc[span[1] - 1] - soc[span[0]])
    rows = slice(*widest)
    capacity = np.trapezoid(current[rows], made.log.time_s[rows]) / 3600 / (soc[rows][-1] - soc[rows][0])
    assert capacity / 185 * 100 == pytest.approx(70, abs=1)


def test_new_pack_changes_capacity_resistance_and_what_the_bms_says(simulated: Make) -> None:
    made = simulated("i3 120 Ah", "pack_swap")
    old, new = made.log.packs
    assert old.soh_percent <= 76
    assert new.soh_percent >= 98
    assert new.resistance_ohm < 0.75 * old.resistance_ohm
    told = made.numbers("bms_soh_percent")
    assert told[0] < 82
    assert told[-1] >= 98
    gap = np.diff(made.log.time_s)
    assert gap.max() >= 8 * 3600  # in the workshop
    swap = int(np.argmax(gap))
    assert made.log.time_s[swap + 1] == made.log.faults[0].onset_s
    assert (np.diff(made.numbers("odometer_km")) >= 0).all()


def test_stuck_probe_holds_its_value(simulated: Make) -> None:
    made = simulated("Kona 64", "probe_stuck")
    fault = made.log.faults[0]
    probes = made.matrix("temperatures_c")
    late = made.log.time_s >= fault.onset_s
    assert probes[late, fault.number - 1] == pytest.approx(np.full(late.sum(), round(fault.value)), abs=1e-5)
    others = np.delete(probes, fault.number - 1, axis=1)
    assert np.ptp(others[late], axis=0).min() >= 3
    assert np.ptp(probes[~late, fault.number - 1]) > 0


def test_offset_probe_is_off_by_as_much_always(simulated: Make) -> None:
    made = simulated("Kona 64", "probe_offset")
    fault = made.log.faults[0]
    probes = made.matrix("temperatures_c")
    excess = probes[:, fault.number - 1] - np.median(np.delete(probes, fault.number - 1, axis=1), axis=1)
    assert np.median(excess) == pytest.approx(fault.value, abs=1.5)
    assert np.ptp(excess) < 5


def test_stuck_current_covers_a_charge(simulated: Make) -> None:
    made = simulated("Kona 64", "current_stuck")
    fault = made.log.faults[0]
    assert fault.end_s is not None
    during = (made.log.time_s >= fault.onset_s) & (made.log.time_s < fault.end_s)
    assert (made.numbers("pack_current_a")[during] == 0).all()
    shown = made.numbers("soc_percent")[during]
    assert shown[-1] - shown[0] > 15  # the charge goes on unmeasured
    assert np.abs(made.numbers("pack_current_a")[~during]).max() > 50


def test_faults_do_not_leak_into_a_sound_vehicle(simulated: Make) -> None:
    sound, faulty = simulated("Kona 64"), simulated("Kona 64", "probe_offset")
    assert not sound.log.faults
    assert np.array_equal(sound.numbers("pack_current_a"), faulty.numbers("pack_current_a"))


@pytest.mark.parametrize("kind", list(KINDS))
def test_description_names_place_unit_and_time(simulated: Make, kind: str) -> None:
    model = {"thermal_event": "ID.3 Pro", "pack_swap": "i3 120 Ah"}.get(kind, "Kona 64")
    entry = describe(simulated(model, kind).log.faults[0])
    place, _, number = str(entry["subject"]).partition(" ")
    assert place == KINDS[kind].place
    assert number.isdigit() is (place != "pack")
    assert datetime.fromisoformat(str(entry["onset"])).tzinfo is not None
