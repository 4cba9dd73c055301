"""Simulated vehicles and fleets for the tests of the simulator."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from packwatch.simulate import SimulationSummary, simulate
from packwatch.simulate.faults import draw_fault
from packwatch.simulate.fleet import COMMUTER, TEMPERATE, Vehicle, draw_vehicle, suit
from packwatch.simulate.sensors import VehicleLog
from packwatch.simulate.vehicle_types import TYPES
from packwatch.simulate.writer import simulate_vehicle

FIRST_DAY = date(2026, 1, 5)  # a Monday
FIRST_S = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp())
SEED = 5


@dataclasses.dataclass(frozen=True)
class Simulated:
    """A vehicle and the log it wrote."""

    vehicle: Vehicle
    log: VehicleLog

    def numbers(self, name: str) -> np.ndarray:
        """Return a scalar column as floats."""
        return self.log.table[name].to_numpy(zero_copy_only=False).astype(float)

    def matrix(self, name: str) -> np.ndarray:
        """Return a list column as rows × elements."""
        return (
            self.log.table[name].combine_chunks().flatten().to_numpy().astype(float).reshape(len(self.log.time_s), -1)
        )


@pytest.fixture(scope="session")
def simulated() -> Callable[..., Simulated]:
    """Make the log of one vehicle of a model, with a fault or without; each combination is made once."""
    made: dict[tuple[Any, ...], Simulated] = {}

    def make(model: str, fault: str | None = None, days: int = 4, **changes: Any) -> Simulated:
        key = (model, fault, days, *sorted((name, str(value)) for name, value in changes.items()))
        if key not in made:
            kind = next(kind for kind in TYPES if kind.model == model)
            vehicle = draw_vehicle(3, kind, "leafspy.csv" if kind.leafspy else "parquet", SEED, FIRST_DAY)
            vehicle = dataclasses.replace(vehicle, **{"climate": TEMPERATE, "habit": COMMUTER, **changes})
            if fault:
                drawn = draw_fault(fault, kind, np.random.default_rng(SEED), FIRST_S, days)
                vehicle = suit(vehicle, (drawn,))
            made[key] = Simulated(vehicle, simulate_vehicle(vehicle, FIRST_S, days, SEED))
        return made[key]

    return make


@dataclasses.dataclass(frozen=True)
class WrittenFleet:
    """A fleet on disk: its folder, what `simulate` said about it, and the truth file by kind of record."""

    folder: Path
    summary: SimulationSummary
    vehicles: list[dict[str, Any]]
    files: list[dict[str, Any]]


def _write_fleet(folder: Path, **arguments: Any) -> WrittenFleet:
    truth = folder / "truth.jsonl"
    summary = simulate(folder, first_day=FIRST_DAY, truth=truth, **arguments)
    records = [json.loads(line) for line in truth.read_text().splitlines()]
    return WrittenFleet(
        folder,
        summary,
        [item for item in records if item["record"] == "vehicle"],
        [item for item in records if item["record"] == "file"],
    )


@pytest.fixture(scope="session")
def demo_fleet(tmp_path_factory: pytest.TempPathFactory) -> WrittenFleet:
    """The default fleet of 48, two days long: every type, fault, format and mishap."""
    return _write_fleet(tmp_path_factory.mktemp("demo"), vehicles=48, days=2, seed=1)


@pytest.fixture(scope="session")
def write_fleet() -> Callable[..., WrittenFleet]:
    """Simulate into a folder and read the truth back."""
    return _write_fleet
