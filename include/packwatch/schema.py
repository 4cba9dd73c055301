"""The canonical log: the one place that says what a column is called, means and may hold.

Arrow schemas, the validation rules, the data dictionary and the file formats derive from `COLUMNS`.
Sign rule: a positive current charges the battery. Times are UTC. A missing value is null, never a sentinel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

Role = Literal["identity", "key", "signal", "provenance"]

TIMESTAMP = pa.timestamp("ms", tz="UTC")
CHARGE_STATES = ("charging", "driving", "parked")


@dataclass(frozen=True)
class Column:
    """One canonical column: Arrow type, unit, meaning and the range outside which a value cannot be true."""

    name: str
    type: pa.DataType
    role: Role
    unit: str
    meaning: str
    minimum: float | None = None
    maximum: float | None = None
    required: bool = False


COLUMNS: tuple[Column, ...] = (
    Column(
        "vin", pa.string(), "identity", "", "Vehicle identification number, 1 to 17 letters and digits.", required=True
    ),
    Column("make", pa.string(), "identity", "", "Maker as the log names it, for example Nissan."),
    Column(
        "model",
        pa.string(),
        "identity",
        "",
        "Model with its battery size where the log knows it, for example Leaf e+ 62.",
    ),
    Column("year", pa.int16(), "identity", "", "Model year.", 2008, 2100),
    Column("recorded_at", TIMESTAMP, "key", "UTC", "When the values were measured.", required=True),
    Column("pack_voltage_v", pa.float64(), "signal", "V", "Voltage of the whole pack.", 0, 1000),
    Column("pack_current_a", pa.float64(), "signal", "A", "Pack current; positive charges the battery.", -2000, 2000),
    Column("soc_percent", pa.float64(), "signal", "%", "State of charge as the vehicle reports it.", 0, 100),
    Column("speed_kmh", pa.float64(), "signal", "km/h", "Vehicle speed.", 0, 350),
    Column("odometer_km", pa.float64(), "signal", "km", "Distance driven since new.", 0, 3_000_000),
    Column("cell_voltage_min_v", pa.float64(), "signal", "V", "Lowest cell (parallel group) voltage.", 0.5, 5.0),
    Column("cell_voltage_max_v", pa.float64(), "signal", "V", "Highest cell (parallel group) voltage.", 0.5, 5.0),
    Column(
        "cell_voltages_v",
        pa.list_(pa.float32()),
        "signal",
        "V",
        "Voltage of every cell in series, cell 1 first.",
        0.5,
        5.0,
    ),
    Column("temperature_min_c", pa.float64(), "signal", "°C", "Coldest battery probe.", -50, 250),
    Column("temperature_max_c", pa.float64(), "signal", "°C", "Hottest battery probe.", -50, 250),
    Column("temperatures_c", pa.list_(pa.float32()), "signal", "°C", "Every battery probe, probe 1 first.", -50, 250),
    Column("ambient_temperature_c", pa.float64(), "signal", "°C", "Air temperature outside the vehicle.", -60, 80),
    Column(
        "charge_state", pa.string(), "signal", "", "What the vehicle says it is doing: charging, driving or parked."
    ),
    Column(
        "insulation_resistance_kohm",
        pa.float64(),
        "signal",
        "kΩ",
        "Resistance between the pack and the body.",
        0,
        100_000,
    ),
    Column("bms_soh_percent", pa.float64(), "signal", "%", "State of health as the BMS itself reports it.", 0, 120),
    Column("bms_capacity_ah", pa.float64(), "signal", "Ah", "Full capacity as the BMS itself reports it.", 0, 1000),
    Column("source_object", pa.string(), "provenance", "", "Key of the raw object the row came from.", required=True),
    Column(
        "source_row",
        pa.int64(),
        "provenance",
        "",
        "Row number in that object, the first row of data is 1.",
        required=True,
    ),
)

BY_NAME = {column.name: column for column in COLUMNS}
IDENTITY = tuple(column.name for column in COLUMNS if column.role == "identity")
SIGNALS = tuple(column.name for column in COLUMNS if column.role == "signal")
PROVENANCE = tuple(column.name for column in COLUMNS if column.role == "provenance")
LISTS = tuple(column.name for column in COLUMNS if pa.types.is_list(column.type))
SCALAR_SIGNALS = tuple(name for name in SIGNALS if name not in LISTS)

# What a producer writes: a log file in the canonical format. Provenance is added when it is read.
LOG_SCHEMA = pa.schema([(c.name, c.type) for c in COLUMNS if c.role != "provenance"])
# What an adapter returns: the log with its provenance.
PARSED_SCHEMA = pa.schema([(c.name, c.type) for c in COLUMNS])
# What the clean zone holds: no VIN (a pseudonymous id instead) and no identity, which is kept in the vehicles table.
CLEAN_SCHEMA = pa.schema([("vehicle_id", pa.string())] + [(c.name, c.type) for c in COLUMNS if c.role != "identity"])


def conform(table: pa.Table, schema: pa.Schema = PARSED_SCHEMA) -> pa.Table:
    """Return `table` with exactly the columns and types of `schema`; columns it lacks become null.

    Raises:
        pyarrow.ArrowInvalid: a column cannot be cast to its canonical type.
    """
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
