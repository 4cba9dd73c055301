"""Battery faults and sensor faults: which vehicle has which, from when, how strong, and how it shows.

A battery fault changes the physics (`pack.py` reads it), a sensor fault only changes what is logged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from packwatch.simulate.fleet import Vehicle
    from packwatch.simulate.vehicle_types import VehicleType

HOUR_S = 3600
DAY_S = 86_400


@dataclass(frozen=True)
class Fault:
    """One fault: what, where (cell or probe number from 1, 0 for the pack), from when to when, and how strong.

    The unit of `value` belongs to the kind, see `KINDS`.
    """

    kind: str
    number: int
    onset_s: int
    end_s: int | None
    value: float

    @property
    def subject(self) -> str:
        """Name what is faulty the way the anomaly table does."""
        place = KINDS[self.kind].place
        return f"{place} {self.number}" if self.number else place


@dataclass(frozen=True)
class FaultKind:
    """A kind of fault: where it sits, what its value means, how it is drawn and which types can show it."""

    place: str
    meaning: str
    unit: str
    low: float
    high: float
    starts: float
    suits: Callable[[VehicleType], bool]


def _has_cells(kind: VehicleType) -> bool:
    return kind.cell_lists and kind.chemistry == "NMC"


def _has_probes(kind: VehicleType) -> bool:
    return kind.cell_lists and kind.probes >= 4


def _has_fast_charging(kind: VehicleType) -> bool:
    return _has_probes(kind) and kind.dc_kw > 0 and kind.chemistry == "NMC"


# In the order in which a fleet gets them: a fleet of 12 has the first three. `starts` is the part of the simulated
# period after which the fault begins; 0 means that it was there before the first row.
KINDS: dict[str, FaultKind] = {
    "drifting_cell": FaultKind(
        "cell", "charge lost against the other cells by the end, share of its capacity", "", 0.20, 0.23, 0.0, _has_cells
    ),
    "hot_spot": FaultKind("probe", "excess under high load", "K", 11, 13, 0.0, _has_probes),
    "insulation_decay": FaultKind(
        "pack", "insulation resistance at the end", "kΩ", 18, 28, 0.15, lambda kind: kind.insulation
    ),
    "thermal_event": FaultKind("probe", "temperature reached", "°C", 62, 66, 0.35, _has_fast_charging),
    "weak_cell": FaultKind("cell", "capacity missing against the other cells, share", "", 0.12, 0.15, 0.0, _has_cells),
    "high_resistance_cell": FaultKind("cell", "resistance, times that of the others", "", 2.8, 3.4, 0.0, _has_cells),
    "current_stuck": FaultKind("pack", "current reported", "A", 0, 0, 0.40, lambda kind: not kind.leafspy),
    "probe_stuck": FaultKind("probe", "held value of the probe", "°C", 0, 0, 0.30, _has_probes),
    "pack_swap": FaultKind("pack", "state of health of the new pack", "%", 98, 100, 0.45, lambda kind: kind.bms_soh),
    "probe_offset": FaultKind("probe", "constant error", "K", 9, 12, 0.0, _has_probes),
    "aged": FaultKind("pack", "state of health", "%", 70, 70, 0.0, lambda kind: kind.chemistry in ("LMO", "NMC")),
}
DRIFT_AT_START = 0.05  # share of its capacity the drifting cell has lost against the others at the first row
FAULTS_PER_48 = len(KINDS)
STUCK_MARGIN_S = 1 * HOUR_S  # a stuck current begins this long before a charge and ends as long after it


def assign_faults(
    fleet: Sequence[Vehicle], rng: np.random.Generator, first_day: date, days: int
) -> list[tuple[Fault, ...]]:
    """Give every fault kind to one vehicle in about 48 that can show it; at most one a vehicle."""
    start_s = int(datetime(first_day.year, first_day.month, first_day.day, tzinfo=UTC).timestamp())
    wanted = round(len(fleet) * FAULTS_PER_48 / 48)
    faults: list[tuple[Fault, ...]] = [()] * len(fleet)
    free = set(range(len(fleet)))
    for name in (list(KINDS) * (wanted // FAULTS_PER_48 + 1))[:wanted]:
        suited = sorted(index for index in free if KINDS[name].suits(fleet[index].type))
        if not suited:
            continue
        chosen = int(rng.choice(suited))
        free.discard(chosen)
        faults[chosen] = (draw_fault(name, fleet[chosen].type, rng, start_s, days),)
    return faults


def draw_fault(name: str, kind: VehicleType, rng: np.random.Generator, start_s: int, days: int) -> Fault:
    """Draw place, strength and onset of one fault; onset and end are seconds since 1970."""
    spec = KINDS[name]
    places = {"cell": kind.cells, "probe": kind.probes, "pack": 0}[spec.place]
    number = int(rng.integers(1, places + 1)) if places else 0
    onset = start_s + int(spec.starts * days * DAY_S)
    return Fault(name, number, onset, None, round(float(rng.uniform(spec.low, spec.high)), 3))


def drift_share(fault: Fault, time_s: np.ndarray, start_s: int, end_s: int) -> np.ndarray:
    """Return the charge the drifting cell has lost against the others, as a share of its capacity.

    A constant leak: linear in time from `DRIFT_AT_START` at the first row to the fault's value at the last.
    """
    elapsed = np.clip((time_s - start_s) / (end_s - start_s), -0.2, 1)
    return DRIFT_AT_START + (fault.value - DRIFT_AT_START) * elapsed


def leak_current_ma(fault: Fault, capacity_ah: float, days: int) -> float:
    """Return the leak current in mA that empties the drifting cell at the simulated speed."""
    return 1000 * (fault.value - DRIFT_AT_START) * capacity_ah / (days * 24)


def insulation_kohm(healthy_kohm: np.ndarray, fault: Fault | None, time_s: np.ndarray, end_s: int) -> np.ndarray:
    """Return the insulation resistance in kΩ; a decay falls exponentially from its onset to its value at the end."""
    if fault is None:
        return healthy_kohm
    progress = np.clip((time_s - fault.onset_s) / (end_s - fault.onset_s), 0, 1)
    return healthy_kohm * (fault.value / np.mean(healthy_kohm)) ** progress


EVENT_RISE_S = 150.0  # the temperature excess grows e-fold in this time, the charger stops at its peak
EVENT_FALL_S = 1800.0
EVENT_NEIGHBOUR = 0.3  # share of the excess that the probes beside it see


def thermal_event(probes_c: np.ndarray, time_s: np.ndarray, fault: Fault, peak_s: int) -> np.ndarray:
    """Add the precursor of a thermal event to the probes: an exponential rise that peaks at `peak_s`.

    The excess grows as exp((t - peak)/150 s), that is at more than 0.05 K/s during the last minutes, and falls with a
    time constant of half an hour after the charger has stopped.
    """
    at_peak = int(np.argmin(np.abs(time_s - peak_s)))
    index = fault.number - 1
    excess = fault.value - probes_c[at_peak, index]
    since = (time_s - peak_s).astype(float)
    shape = np.exp(np.clip(np.where(since < 0, since / EVENT_RISE_S, -since / EVENT_FALL_S), -40, 0))
    weight = np.zeros(probes_c.shape[1])
    weight[max(index - 1, 0) : index + 2] = EVENT_NEIGHBOUR
    weight[index] = 1
    return probes_c + excess * shape[:, None] * weight


def hold_probe(fault: Fault, probes_c: np.ndarray, time_s: np.ndarray) -> Fault:
    """Return a stuck probe's fault with the value it holds: the one at its onset, °C."""
    row = min(int(np.searchsorted(time_s, fault.onset_s)), len(time_s) - 1)
    return replace(fault, value=round(float(probes_c[row, fault.number - 1]), 1))


def break_probe(probes_c: np.ndarray, time_s: np.ndarray, vehicle: Vehicle) -> np.ndarray:
    """Return what the probes report when one is stuck or has an offset."""
    reported = probes_c.copy()
    if offset := vehicle.fault("probe_offset"):
        reported[:, offset.number - 1] += offset.value
    if stuck := vehicle.fault("probe_stuck"):
        reported[time_s >= stuck.onset_s, stuck.number - 1] = stuck.value
    return reported


def break_current(current_a: np.ndarray, time_s: np.ndarray, vehicle: Vehicle) -> np.ndarray:
    """Return what the current sensor reports when it is stuck at 0 for a period."""
    stuck = vehicle.fault("current_stuck")
    if stuck is None or stuck.end_s is None:
        return current_a
    return np.where((time_s >= stuck.onset_s) & (time_s < stuck.end_s), 0.0, current_a)


def describe(fault: Fault) -> dict[str, object]:
    """Return a fault as the truth file lists it."""
    spec = KINDS[fault.kind]
    return {
        "kind": fault.kind,
        "subject": fault.subject,
        "onset": _iso(fault.onset_s),
        "end": None if fault.end_s is None else _iso(fault.end_s),
        "value": fault.value,
        "unit": spec.unit,
        "meaning": spec.meaning,
    }


def placed(fault: Fault, onset_s: int, end_s: int | None) -> Fault:
    """Return the fault with the period that came out of the simulation."""
    return replace(fault, onset_s=onset_s, end_s=end_s)


def _iso(seconds: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(seconds))).isoformat().replace("+00:00", "Z")
