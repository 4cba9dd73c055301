"""The result frames of `analyze`: column order, dtypes and ids, the same for ten thousand rows and for none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

TIME = "datetime64[ms, UTC]"
DATE = "date"  # datetime.date objects

SESSION_COLUMNS = {
    "session_id": "str",
    "vehicle_id": "str",
    "log_date": DATE,
    "kind": "str",
    "started_at": TIME,
    "ended_at": TIME,
    "duration_s": "float64",
    "row_count": "int64",
    "soc_start_percent": "float64",
    "soc_end_percent": "float64",
    "energy_kwh": "float64",
    "charge_ah": "float64",
    "power_max_kw": "float64",
    "charge_type": "str",
    "temperature_start_c": "float64",
    "temperature_max_c": "float64",
    "sampling_interval_s": "float64",
    "gap_s": "float64",
    "odometer_start_km": "float64",
    "odometer_end_km": "float64",
    "observed_capacity_ah": "float64",
    "observed_capacity_sigma_ah": "float64",
    "observed_soc_delta_percent": "float64",
    "full_charge": "bool",
    "quality_flags": "int32",
}
DAY_COLUMNS = {
    "vehicle_id": "str",
    "log_date": DATE,
    "row_count": "int64",
    "first_recorded_at": TIME,
    "last_recorded_at": TIME,
    "charge_throughput_ah": "float64",
    "discharge_throughput_ah": "float64",
    "equivalent_full_cycles": "float64",
    "odometer_km": "float64",
    "soc_min_percent": "float64",
    "soc_max_percent": "float64",
    "temperature_max_c": "float64",
    "temperature_mean_c": "float64",
    "cell_spread_median_mv": "float64",
    "cell_spread_max_mv": "float64",
    "bms_soh_percent": "float64",
    "bms_capacity_ah": "float64",
    "completeness": "float64",
}
CELL_COLUMNS = {
    "time": TIME,
    "vehicle_id": "str",
    "cell_id": "str",
    "voltage": "float64",
    "voltage_min": "float64",
    "voltage_max": "float64",
    "temperature": "float64",
    "internal_resistance": "float64",
    "reading_count": "int64",
    "deviation_mv": "float64",
}
ANOMALY_COLUMNS = {
    "anomaly_id": "str",
    "vehicle_id": "str",
    "log_date": DATE,
    "code": "str",
    "severity": "int16",
    "subject": "str",
    "started_at": TIME,
    "ended_at": TIME,
    "row_count": "int64",
    "value": "float64",
    "unit": "str",
    "normal_value": "float64",
    "limit_value": "float64",
    "message": "str",
    "action": "str",
}


@dataclass(frozen=True)
class DayAnalysis:
    """What the rows of the target log dates say."""

    sessions: pd.DataFrame
    days: pd.DataFrame
    cells: pd.DataFrame
    anomalies: pd.DataFrame


def build_frame(values: Mapping[str, npt.ArrayLike], columns: Mapping[str, str]) -> pd.DataFrame:
    """Return `values` as a frame with exactly the order and dtypes of `columns`.

    Times are milliseconds and dates are days, both since 1970-01-01 UTC.
    """
    return pd.DataFrame({name: _typed(values[name], dtype) for name, dtype in columns.items()})


def _typed(values: npt.ArrayLike, dtype: str) -> pd.Series | np.ndarray:
    if dtype == TIME:
        return pd.Series(np.asarray(values, dtype="int64").view("datetime64[ms]")).dt.tz_localize("UTC")
    if dtype == DATE:
        return pd.Series(np.asarray(values, dtype="int64").view("datetime64[D]").astype(object), dtype=object)
    if dtype == "str":
        return pd.Series(np.asarray(values, dtype=object), dtype="str")
    return np.asarray(values).astype(dtype)


def empty_frame(columns: Mapping[str, str]) -> pd.DataFrame:
    """Return a frame without rows, with the order and dtypes of `columns`."""
    return build_frame({name: np.zeros(0, dtype=np.int64) for name in columns}, columns)
