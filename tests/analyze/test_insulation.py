"""Insulation resistance in ohm per volt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from packwatch.analyze import DayAnalysis

MakeLog = Callable[..., pa.Table]
Analyze = Callable[..., DayAnalysis]


# 96 cells * 4.2 V = 403.2 V: 500 ohm/V are 201.6 kΩ, 100 ohm/V are 40.32 kΩ.
@pytest.mark.parametrize(
    ("kohm", "severity", "limit"),
    [
        (202.0, None, None),
        (201.0, 2, 500.0),
        (41.0, 2, 500.0),
        (40.0, 3, 100.0),
        (0.0, 3, 100.0),
        (11520.0, None, None),
    ],
)
def test_limits(clean_log: MakeLog, analyze: Analyze, kohm: float, severity: int | None, limit: float | None) -> None:
    found = analyze(clean_log(range(4), insulation_resistance_kohm=[3000, kohm, kohm, 3000])).anomalies
    if severity is None:
        assert found.empty
        return
    row = found.iloc[0]
    assert (row["code"], row["severity"], row["limit_value"], row["unit"]) == (
        "insulation_low",
        severity,
        limit,
        "ohm/V",
    )
    assert row["value"] == pytest.approx(kohm * 1000 / 403.2)
    assert (row["row_count"], row["subject"]) == (2, "pack")
    assert f"({kohm:.0f} kΩ)" in row["message"]


def test_one_reading_is_not_enough(clean_log: MakeLog, analyze: Analyze) -> None:
    assert analyze(clean_log(range(4), insulation_resistance_kohm=[3000, 20, 3000, 20])).anomalies.empty
    # Rows without a reading do not separate two that follow each other.
    assert len(analyze(clean_log(range(4), insulation_resistance_kohm=[3000, 20, None, 20])).anomalies) == 1


def test_an_unknown_type_goes_by_its_highest_voltage(
    clean_log: MakeLog, analyze: Analyze, vehicles: Callable[..., pd.DataFrame]
) -> None:
    table = clean_log(range(3), insulation_resistance_kohm=150.0, pack_voltage_v=[380.0, 400.0, 390.0])
    found = analyze(table, types=vehicles(cells_in_series=np.nan)).anomalies
    # 150 kΩ / 400 V.
    assert found["value"].tolist() == [375.0]
    nowhere = clean_log(range(3), insulation_resistance_kohm=150.0)
    assert analyze(nowhere, types=vehicles(cells_in_series=np.nan)).anomalies.empty
