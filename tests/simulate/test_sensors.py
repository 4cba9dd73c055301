"""Physics and sensors of whole vehicle logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from packwatch.schema import BY_NAME, LOG_SCHEMA, SCALAR_SIGNALS
from packwatch.simulate.fleet import COLD, HOT
from packwatch.simulate.pack import AC, DC, DRIVING, PARKED

Make = Callable[..., Any]
MODELS = ["Model 3 LR", "Model 3 RWD LFP", "i3 120 Ah", "Leaf 24", "Zoe ZE40", "Atto 3", "Lumo 52"]


def charges(made: Any) -> list[slice]:
    """Return the rows of every charge of at least 20 rows."""
    charging = np.isin(made.log.state, (AC, DC))
    edges = np.flatnonzero(np.diff(charging.astype(int), prepend=0, append=0))
    return [slice(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= 20]


@pytest.mark.parametrize("model", MODELS)
def test_logged_charge_equals_the_change_of_true_charge(simulated: Make, model: str) -> None:
    """Integrated current over a charge against true state of charge × true capacity: within 1 %."""
    made = simulated(model)
    current, found = made.numbers("pack_current_a"), charges(made)
    assert found
    for rows in found:
        moved_ah = float(np.trapezoid(current[rows], made.log.time_s[rows])) / 3600
        true_ah = (made.log.soc[rows][-1] - made.log.soc[rows][0]) * made.vehicle.capacity_ah
        assert moved_ah == pytest.approx(true_ah, rel=0.01)
        assert moved_ah > 0


@pytest.mark.parametrize("model", MODELS)
def test_displayed_charge_is_quantised_and_about_right(simulated: Make, model: str) -> None:
    made = simulated(model)
    shown, step = made.numbers("soc_percent"), made.vehicle.type.soc_step_percent
    assert np.abs(shown - 100 * made.log.soc).max() < 2.4 + step
    assert np.ptp(shown - 100 * made.log.soc) > 0.3  # the error wanders
    assert shown / step == pytest.approx(np.round(shown / step), abs=1e-6)
    full = made.log.soc > 0.998
    assert np.abs(shown[full] - 100).max(initial=0) <= max(step, 0.3)


@pytest.mark.parametrize("model", ["i3 120 Ah", "Zoe ZE40", "Atto 3", "Leaf 24", "Lumo 52"])
def test_cells_add_up_to_the_pack(simulated: Make, model: str) -> None:
    made = simulated(model)
    cells = made.matrix("cell_voltages_v")
    assert cells.shape[1] == made.vehicle.type.cells
    # sense offsets of 0.8 mV per cell add up to 0.8·√cells < 10 mV; the pack sensor has 80 mV of noise and 0.1 V steps
    assert np.abs(cells.sum(axis=1) - made.numbers("pack_voltage_v")).max() < 0.5
    np.testing.assert_allclose(cells.min(axis=1), made.numbers("cell_voltage_min_v"), atol=1e-6)
    np.testing.assert_allclose(cells.max(axis=1), made.numbers("cell_voltage_max_v"), atol=1e-6)
    millivolts = cells * 1000
    assert np.abs(millivolts - np.round(millivolts)).max() < 0.001


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("climate", [COLD, HOT], ids=lambda climate: climate.name)
def test_a_sound_vehicle_is_inside_its_limits(simulated: Make, model: str, climate: object) -> None:
    made = simulated(model, climate=climate)
    kind = made.vehicle.type
    assert made.numbers("cell_voltage_min_v").min() > kind.cell_min_v
    assert made.numbers("cell_voltage_max_v").max() < kind.cell_max_v
    assert made.numbers("temperature_max_c").max() < 52
    assert made.numbers("temperature_min_c").min() > -25
    spread_k = made.numbers("temperature_max_c") - made.numbers("temperature_min_c")
    assert spread_k.max() < 5
    resting = (np.abs(made.log.current_a) < 1) & (made.log.soc > 0.3) & (made.log.soc < 0.9)
    spread_mv = 1000 * (made.numbers("cell_voltage_max_v") - made.numbers("cell_voltage_min_v"))
    assert spread_mv[resting].max() < 20
    assert spread_mv.max() < 60


def test_the_air_cools_a_parked_pack(simulated: Make) -> None:
    made = simulated("Leaf 40", climate=HOT)
    outside = made.numbers("ambient_temperature_c")
    assert 25 < outside.mean() < 37
    assert np.abs(made.log.temperature_c - outside).mean() < 12
    assert np.abs(np.diff(made.log.temperature_c)).max() < 1.5


def test_positive_current_charges(simulated: Make) -> None:
    """The sign rule of the canonical log, seen in the data: current and change of charge have one sign."""
    made = simulated("i3 120 Ah")
    current = made.numbers("pack_current_a")
    assert (current[np.isin(made.log.state, (AC, DC))] > 0).all()
    driving = made.log.state == DRIVING
    assert current[driving].mean() < 0
    assert np.corrcoef(current[1:], np.diff(made.log.soc) / np.diff(made.log.time_s))[0, 1] > 0.8
    assert set(made.log.table["charge_state"].to_pylist()) == {"charging", "driving", "parked"}


@pytest.mark.parametrize("model", MODELS)
def test_every_value_is_inside_the_schema(simulated: Make, model: str) -> None:
    made = simulated(model)
    assert made.log.table.schema.equals(LOG_SCHEMA)
    for name in SCALAR_SIGNALS:
        column = BY_NAME[name]
        if column.minimum is not None and made.log.table[name].null_count < len(made.log.table):
            values = made.numbers(name)
            assert np.nanmin(values) >= column.minimum
            assert np.nanmax(values) <= column.maximum


def test_types_log_different_signals(simulated: Make) -> None:
    tesla, zoe, unknown = simulated("Model 3 LR"), simulated("Zoe ZE40"), simulated("Lumo 52")
    assert tesla.log.table["cell_voltages_v"].null_count == len(tesla.log.table)
    assert zoe.log.table["charge_state"].null_count == len(zoe.log.table)
    assert zoe.log.table["bms_soh_percent"].null_count == 0
    assert unknown.log.table["bms_soh_percent"].null_count == len(unknown.log.table)


def test_sampling_follows_what_the_vehicle_does(simulated: Make) -> None:
    made = simulated("Kona 64")
    steps, state = np.diff(made.log.time_s), made.log.state
    for wanted, seconds in ((DRIVING, 10), (AC, 30), (PARKED, 300)):
        inside = (state[1:] == wanted) & (state[:-1] == wanted)
        assert np.median(steps[inside]) == seconds


def test_odometer_follows_the_speed(simulated: Make) -> None:
    made = simulated("Kona 64")
    odometer = made.numbers("odometer_km")
    assert (np.diff(odometer) >= 0).all()
    driving = made.log.state == DRIVING
    driven = made.numbers("speed_kmh")[driving].sum() * 10 / 3600
    assert odometer[-1] - odometer[0] == pytest.approx(driven, rel=0.05)


def test_throughput_counts_both_directions(simulated: Make) -> None:
    """A week that ends as full as it began has moved as much in as out, plus what regeneration moved twice."""
    made = simulated("i3 120 Ah")
    charged = sum(float(np.trapezoid(made.log.current_a[rows], made.log.time_s[rows])) / 3600 for rows in charges(made))
    assert made.log.throughput_ah > 1.5 * charged


def test_no_phantom_current_while_parked(simulated: Make) -> None:
    made = simulated("Kona 64")
    assert np.abs(made.numbers("pack_current_a")[made.log.state == PARKED]).max() == 0
