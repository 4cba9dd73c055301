"""The first rules that look for faults in a day of a vehicle; each is in the module of its subject."""

from __future__ import annotations

import pandas as pd

from packwatch.analyze.findings import Evidence, anomaly_frame
from packwatch.analyze.imbalance import find_imbalance
from packwatch.analyze.insulation import find_low_insulation
from packwatch.analyze.sensors import find_sensor_faults
from packwatch.analyze.thermal import find_heat

RULES = (find_heat, find_imbalance, find_low_insulation, find_sensor_faults)


def find_anomalies(evidence: Evidence) -> pd.DataFrame:
    """Apply all rules; return the anomalies of the target days, columns as in `frames.ANOMALY_COLUMNS`."""
    return anomaly_frame(evidence, [finding for rule in RULES for finding in rule(evidence)])
