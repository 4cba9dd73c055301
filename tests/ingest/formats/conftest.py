"""Logs made up for the tests: they imitate the shape and the defects of real ones, not their rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from packwatch.ingest.formats.leafspy_lines import GENERATIONS

# Fields by name; what is not named here is 0.
_RECORD = {
    "Date/Time": "13/09/2020 12:26:40",
    "Lat": "10 0.00000",
    "Long": "20 0.00000",
    "SOC": "654321",
    "AHr": "1080000",
    "Pack Volts": "374.91",
    "Pack Amps": "12.5",
    "Pack T1 F": "68.2",
    "Pack T1 C": "20.1",
    "Pack T2 F": "68.9",
    "Pack T2 C": "20.5",
    "Pack T3 F": "none",
    "Pack T3 C": "none",
    "Pack T4 F": "67.6",
    "Pack T4 C": "19.8",
    "12v Bat Amps": "na",
    "VIN": "TESTLEAF000000001",
    "Odo(km)": "54321",
    "Ambient": "15.5",
    "SOH": "95.00",
    "epoch time": "1600000000",
    "Gear": "4",
    "GPS Status": "7F",
    "Speed": "50",
    "Speed1": "5005",
    "Torque Nm": "9.5",
}
# 96 cells of 3.900 to 3.906 V: cell 1 has 3901 mV, cell 7 has 3900 mV.
_CELLS = {f"CP{cell}": str(3900 + cell % 7) for cell in range(1, 97)}
_EXTREMES = {"Max CP mV": "3906", "Min CP mV": "3900"}

MakeRecord = Callable[..., str]


@pytest.fixture(scope="session")
def leafspy_record() -> MakeRecord:
    """Factory of one LeafSpy line: `leafspy_record(layout, {field: text})`."""

    def make(layout: Sequence[str] = GENERATIONS[4], changes: dict[str, str] | None = None) -> str:
        known = _RECORD | _CELLS | _EXTREMES | (changes or {})
        return ",".join(known.get(name, "0") for name in layout)

    return make
