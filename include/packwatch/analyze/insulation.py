"""Insulation between the high-voltage pack and the body.

r = resistance / highest voltage of the pack. UN R100, GTR 20 and GB 18384 ask for 100 ohm/V with direct current alone
and 500 ohm/V where alternating-current circuits are connected.
"""

from __future__ import annotations

import numpy as np

from packwatch.analyze.findings import CRITICAL, WARNING, Evidence, Findings, confirmed, fill_in, mark_days, since
from packwatch.analyze.ranges import range_max, range_min

CODE = "insulation_low"

SEVERE_OHM_PER_V = 100.0
WARNING_OHM_PER_V = 500.0
# Two megohm at 400 V, what a sound and dry vehicle has at least, ohm/V.
NORMAL_OHM_PER_V = 5000.0
OHM_PER_KOHM = 1000.0

ACTIONS = {
    WARNING: "Have the insulation measured in a workshop soon; moisture and damaged cables are usual causes.",
    CRITICAL: "Stop using and charging the vehicle until a workshop has found the insulation fault.",
}


def find_low_insulation(evidence: Evidence) -> list[Findings]:
    """Find vehicle-days whose insulation lies below the limits in two readings running.

    The highest voltage is cells in series times their limit, or the highest pack voltage of the day for an unknown
    type. A value that never changes counts like any other: the codes that stand for "not measured" are 5 megohm and
    more, far above the limits of any pack.
    """
    rows, days, specs = evidence.rows, evidence.days, evidence.specs
    typical = (specs.cells_in_series * specs.cell_limit_max_v)[days.vehicle]
    highest = range_max(rows.pack_voltage_v, days.first, days.stop)
    highest_v = np.where(np.isnan(typical), highest, typical)
    group = evidence.group
    per_volt = np.where(group >= 0, OHM_PER_KOHM * rows.insulation_resistance_kohm / highest_v[group], np.nan)
    known = ~np.isnan(per_volt)
    low = confirmed(per_volt < WARNING_OHM_PER_V, known, group)
    severe = confirmed(per_volt < SEVERE_OHM_PER_V, known, group)
    severe_days = np.unique(group[severe])
    marks = mark_days(evidence, np.where(np.isin(group, severe_days), severe, low))
    day = marks.day
    value = range_min(per_volt[marks.rows], marks.begins, marks.ends)
    is_severe = np.isin(day, severe_days)
    severity = np.where(is_severe, CRITICAL, WARNING)
    limit = np.where(is_severe, SEVERE_OHM_PER_V, WARNING_OHM_PER_V)
    normal = np.full(len(day), NORMAL_OHM_PER_V)
    finding = Findings(
        code=CODE,
        day=day,
        severity=severity,
        subject=["pack"] * len(day),
        first_row=marks.first_row,
        last_row=marks.last_row,
        row_count=marks.row_count,
        value=value,
        unit="ohm/V",
        normal_value=normal,
        limit_value=limit,
        message=fill_in(
            "The insulation resistance fell to {value:.0f} ohm per volt ({kohm:.0f} kΩ); it was below {limit:.0f} ohm "
            "per volt in {count} readings since {start} (normal: {normal:.0f} and more).",
            value=value,
            kohm=value * highest_v[day] / OHM_PER_KOHM,
            limit=limit,
            count=marks.row_count,
            start=since(evidence, marks.first_row),
            normal=normal,
        ),
        action=[ACTIONS[number] for number in severity.tolist()],
    )
    return [finding]
