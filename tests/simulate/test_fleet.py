"""Who is in the fleet."""

from __future__ import annotations

import re
from collections import Counter
from datetime import date

import pytest

from packwatch.simulate.faults import KINDS
from packwatch.simulate.fleet import FLEET_SIZE, draw_fleet, roster
from packwatch.simulate.vehicle_types import TYPES, VehicleType
from packwatch.vehicles.catalogue import get_vehicle_specs

FIRST_DAY = date(2026, 1, 5)


def test_default_fleet_is_varied() -> None:
    fleet = draw_fleet(48, 1, FIRST_DAY, 7)
    assert FLEET_SIZE == len(fleet) == 48
    assert {vehicle.type.chemistry for vehicle in fleet} == {"NMC", "NCA", "LFP", "LMO"}
    assert len({(vehicle.type.make, vehicle.type.model) for vehicle in fleet}) >= 12
    assert {vehicle.climate.name for vehicle in fleet} == {"temperate", "cold", "hot"}
    assert {vehicle.habit.name for vehicle in fleet} == {"commuter", "family", "delivery", "taxi"}
    formats = Counter(vehicle.file_format for vehicle in fleet)
    assert set(formats) == {"parquet", "csv.gz", "jsonl.gz", "jsonl.zst", "leafspy.csv"}
    assert formats["parquet"] == max(formats.values())


def test_vins_are_valid_distinct_and_the_same_again() -> None:
    vins = [vehicle.vin for vehicle in draw_fleet(200, 7, FIRST_DAY, 2)]
    assert len(set(vins)) == 200
    assert all(re.fullmatch(r"[A-HJ-NPR-Z0-9]{17}", vin) for vin in vins)
    assert vins == [vehicle.vin for vehicle in draw_fleet(200, 7, FIRST_DAY, 2)]
    assert not set(vins) & {vehicle.vin for vehicle in draw_fleet(200, 8, FIRST_DAY, 2)}


def test_a_vehicle_does_not_depend_on_the_size_of_the_fleet() -> None:
    few, many = draw_fleet(5, 1, FIRST_DAY, 7), draw_fleet(60, 1, FIRST_DAY, 7)
    assert [vehicle.vin for vehicle in few] == [vehicle.vin for vehicle in many[:5]]
    assert [vehicle.odometer_km for vehicle in few] == [vehicle.odometer_km for vehicle in many[:5]]


def test_small_and_large_fleets_mix_the_types() -> None:
    assert len({kind.model for kind in roster(6)}) == 6
    counted = Counter(kind.model for kind in roster(96))
    assert counted["Kona 64"] == 10  # share 5 of 48


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_fault_happens_once_in_48(seed: int) -> None:
    fleet = draw_fleet(48, seed, FIRST_DAY, 7)
    assert Counter(fault.kind for vehicle in fleet for fault in vehicle.faults) == dict.fromkeys(KINDS, 1)
    assert max(len(vehicle.faults) for vehicle in fleet) == 1


def test_no_fault_in_a_fleet_of_two_and_two_of_each_in_96() -> None:
    assert all(not vehicle.faults for vehicle in draw_fleet(2, 1, FIRST_DAY, 7))
    faults = Counter(fault.kind for vehicle in draw_fleet(96, 1, FIRST_DAY, 7) for fault in vehicle.faults)
    assert faults == dict.fromkeys(KINDS, 2)


def test_health_is_believable() -> None:
    fleet = draw_fleet(480, 3, FIRST_DAY, 7)
    healths = sorted(vehicle.soh_percent for vehicle in fleet)
    assert healths[0] > 60
    assert healths[-1] <= 101
    assert 85 < healths[len(healths) // 2] < 95
    aged = [vehicle for vehicle in fleet if vehicle.fault("aged")]
    assert len(aged) == 10
    assert all(69 < vehicle.soh_percent < 71 for vehicle in aged)
    assert all(vehicle.year < FIRST_DAY.year for vehicle in fleet)


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind.make != "Vireo"], ids=lambda kind: kind.model)
def test_types_agree_with_the_catalogue(kind: VehicleType) -> None:
    """The simulator keeps its own table; where the two differ, one of them is wrong."""
    for year in kind.years:
        specs = get_vehicle_specs(kind.make, kind.model, year)
        assert (specs.cells_in_series, specs.chemistry) == (kind.cells, kind.chemistry)
        assert specs.capacity_ah == pytest.approx(kind.capacity_ah)
        assert (specs.cell_voltage_min_v, specs.cell_voltage_max_v) == (kind.cell_min_v, kind.cell_max_v)


def test_the_made_up_type_is_in_no_catalogue() -> None:
    assert get_vehicle_specs("Vireo", "Lumo 52", 2022).chemistry == "unknown"
