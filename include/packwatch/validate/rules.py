"""The rules a row of a log must keep: said once here, run by two engines.

`expectations.py` compiles `RULES` to a Great Expectations suite that gates a whole batch; `row_mask` runs the
same table as NumPy comparisons and says which row broke which rule. Both look at a `checkable` frame
(`derive.py`), which holds one scalar a row and column.

A missing value breaks no rule but `not_null`: absence is measured as completeness, it is not an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from packwatch.schema import BY_NAME, CHARGE_STATES, COLUMNS, Column

Kind = Literal["not_null", "between", "in_set", "not_less_than"]
Severity = Literal["error", "warning"]

# A log day may lie one day after the arrival day: loggers stamp local time, up to 14 h ahead of UTC.
LOG_DAYS_AFTER_ARRIVAL_MAX = 1

# How far a cell may leave the limits of its type before it is worth a warning: sensors are good to about 10 mV,
# a cell sags below its rest limit under load (hence more room below) and regeneration lifts it a little above.
CELL_BELOW_TYPE_V = 0.2
CELL_ABOVE_TYPE_V = 0.1

# Pack voltage against the sum of the cells. Two sound sensors agree to 1 %; sampling them up to a few seconds
# apart under load adds 2 %. At 15 % a log that lists every cell contradicts itself. Where the number of cells comes
# from the catalogue, two battery sizes of one model differ by up to 25 %, so only a gross contradiction condemns.
PACK_OFF_CELLS_WARNING_PERCENT = 3.0
PACK_OFF_LISTED_CELLS_PERCENT = 15.0
PACK_OFF_TYPE_PERCENT = 50.0

# Letters of column names that are written differently in a sentence.
_SPELLING = {"bms": "BMS", "soc": "state of charge", "soh": "state of health"}


@dataclass(frozen=True)
class Rule:
    """One rule: `code` is the reason a row is given, `sentence` says in plain words what is wrong with it.

    kind not_null: the column has a value. between: minimum <= value <= maximum. in_set: the value is one of `values`.
    not_less_than: the first column >= the second. A missing value passes every kind but not_null.
    severity error: the row goes to quarantine. warning: the row stays and lowers the quality score of its day.
    """

    code: str
    sentence: str
    columns: tuple[str, ...]
    kind: Kind
    severity: Severity = "error"
    minimum: float | None = None
    maximum: float | None = None
    values: tuple[str | bool, ...] = ()
    unit: str = ""


def _label(column: Column) -> str:
    """Return the name of a column in words, without its unit: pack_voltage_v is `pack voltage`."""
    words = column.name.split("_")
    words = words[:-1] if column.unit and len(words) > 1 else words
    return " ".join(_SPELLING.get(word, word) for word in words)


def _limits(column: Column) -> str:
    """Return the range of a column in words, such as `0 to 1,000 V`."""
    return f"{column.minimum:,g} to {column.maximum:,g} {column.unit}".rstrip()


def _scalar_ranges() -> list[Rule]:
    """Derive one rule for each signal of one value that the schema gives a range."""
    return [
        Rule(
            f"{c.name}_out_of_range",
            f"The {_label(c)} is outside {_limits(c)}.",
            (c.name,),
            "between",
            minimum=c.minimum,
            maximum=c.maximum,
            unit=c.unit,
        )
        for c in COLUMNS
        if c.role == "signal" and c.minimum is not None and not pa.types.is_list(c.type)
    ]


def _list_ranges() -> list[Rule]:
    """Derive two rules for each signal of many values: its lowest and its highest element keep the schema's range."""
    rules = []
    for c in (c for c in COLUMNS if c.minimum is not None and pa.types.is_list(c.type)):
        low = f"At least one of the {_label(c)} is below {c.minimum:,g} {c.unit}."
        high = f"At least one of the {_label(c)} is above {c.maximum:,g} {c.unit}."
        rules += [
            Rule(f"{c.name}_too_low", low, (f"{c.name}_lowest",), "between", minimum=c.minimum, unit=c.unit),
            Rule(f"{c.name}_too_high", high, (f"{c.name}_highest",), "between", maximum=c.maximum, unit=c.unit),
        ]
    return rules


# Errors come first, and among them what makes all else meaningless: the first broken one is a row's reason.
RULES: tuple[Rule, ...] = (
    Rule("empty_row", "The row holds no signal at all.", ("signal_count",), "between", minimum=1),
    Rule("missing_identity", "The row does not say which vehicle it is from.", ("vin",), "not_null"),
    Rule(
        "malformed_vin",
        "The VIN is not 1 to 17 letters and digits, or is one character 17 times over.",
        ("vin_malformed",),
        "in_set",
        values=(False,),
    ),
    Rule("missing_time", "The row has no readable time.", ("recorded_at",), "not_null"),
    Rule(
        "time_too_early",
        "The row is older than its vehicle can be: before 2008, or over a year before the model year.",
        ("days_since_earliest",),
        "between",
        minimum=0,
        unit="days",
    ),
    Rule(
        "time_in_future",
        "The row is dated later than the day after it arrived.",
        ("log_days_after_arrival",),
        "between",
        maximum=LOG_DAYS_AFTER_ARRIVAL_MAX,
        unit="days",
    ),
    Rule("not_finite", "A value is infinite or not a number.", ("not_finite_count",), "between", maximum=0),
    *_scalar_ranges(),
    *_list_ranges(),
    Rule(
        "charge_state_unknown",
        f"The charge state is none of {', '.join(CHARGE_STATES)}.",
        ("charge_state",),
        "in_set",
        values=CHARGE_STATES,
    ),
    Rule(
        "cell_min_above_max",
        "The lowest cell voltage is above the highest.",
        ("cell_voltage_max_v", "cell_voltage_min_v"),
        "not_less_than",
        unit="V",
    ),
    Rule(
        "temperature_min_above_max",
        "The coldest probe is warmer than the hottest.",
        ("temperature_max_c", "temperature_min_c"),
        "not_less_than",
        unit="°C",
    ),
    Rule(
        "pack_voltage_contradicts_cells",
        f"The pack voltage is over {PACK_OFF_LISTED_CELLS_PERCENT:g} % off the sum of the cells the row lists.",
        ("pack_off_listed_cells_percent",),
        "between",
        maximum=PACK_OFF_LISTED_CELLS_PERCENT,
        unit="%",
    ),
    Rule(
        "pack_voltage_contradicts_type",
        f"The pack voltage is over {PACK_OFF_TYPE_PERCENT:g} % off what as many cells as its type has add up to.",
        ("pack_off_type_percent",),
        "between",
        maximum=PACK_OFF_TYPE_PERCENT,
        unit="%",
    ),
    # A cell outside the limits of its type but inside what the schema says is possible may be the very fault that
    # the analysis is there to find (deep discharge, overcharge), so the row must stay.
    Rule(
        "cell_voltage_below_type",
        f"A cell is more than {CELL_BELOW_TYPE_V:g} V below the lower limit of its type.",
        ("cell_lowest_above_type_min_v",),
        "between",
        "warning",
        minimum=-CELL_BELOW_TYPE_V,
        unit="V",
    ),
    Rule(
        "cell_voltage_above_type",
        f"A cell is more than {CELL_ABOVE_TYPE_V:g} V above the upper limit of its type.",
        ("cell_highest_above_type_max_v",),
        "between",
        "warning",
        maximum=CELL_ABOVE_TYPE_V,
        unit="V",
    ),
    Rule(
        "pack_voltage_off_cells",
        f"The pack voltage is over {PACK_OFF_CELLS_WARNING_PERCENT:g} % off the sum of the cells.",
        ("pack_off_cells_percent",),
        "between",
        "warning",
        maximum=PACK_OFF_CELLS_WARNING_PERCENT,
        unit="%",
    ),
    Rule(
        "cell_count_differs",
        "The row does not list as many cells as its type has in series.",
        ("cell_count_difference",),
        "between",
        "warning",
        minimum=0,
        maximum=0,
        unit="cells",
    ),
    Rule(
        "year_out_of_range",
        f"The model year is outside {BY_NAME['year'].minimum:g} to {BY_NAME['year'].maximum:g}.",
        ("year",),
        "between",
        "warning",
        minimum=BY_NAME["year"].minimum,
        maximum=BY_NAME["year"].maximum,
    ),
)

BY_CODE = {rule.code: rule for rule in RULES}


@dataclass(frozen=True)
class RuleHits:
    """Which row broke which rule.

    matrix: rows x rules, True where broken. counts: broken rows of each rule. broken: rows that broke an error.
    warned: rows that are kept and broke a warning.
    """

    rules: tuple[Rule, ...]
    matrix: np.ndarray
    counts: np.ndarray
    broken: np.ndarray
    warned: np.ndarray

    def of(self, *codes: str) -> np.ndarray:
        """Return the rows that broke at least one of the rules `codes`."""
        wanted = [k for k, rule in enumerate(self.rules) if rule.code in codes]
        return np.logical_or.reduce(self.matrix.T[wanted], axis=0)


def _violations(checkable: pd.DataFrame, rule: Rule) -> np.ndarray:
    """Return the rows that break one rule. A comparison with NaN is False, so a missing value passes."""
    column = checkable[rule.columns[0]]
    if rule.kind == "not_null":
        return column.isna().to_numpy()
    if rule.kind == "in_set":
        return ~(column.isin(rule.values) | column.isna()).to_numpy()
    values = column.to_numpy()
    if rule.kind == "not_less_than":
        return values < checkable[rule.columns[1]].to_numpy()
    if rule.minimum is None:
        return values > rule.maximum
    return values < rule.minimum if rule.maximum is None else (values < rule.minimum) | (values > rule.maximum)


def row_mask(checkable: pd.DataFrame, rules: Sequence[Rule] = RULES) -> RuleHits:
    """Run every rule on every row: under 0.1 s per million rows.

    Args:
        checkable: what `derive` returns.
        rules: the rules to run.
    """
    # One contiguous line a rule while it is filled and counted, seen as rows x rules by the caller.
    by_rule = np.empty((len(rules), len(checkable)), dtype=bool)
    for k, rule in enumerate(rules):
        by_rule[k] = _violations(checkable, rule)
    errors = [k for k, rule in enumerate(rules) if rule.severity == "error"]
    warnings = [k for k, rule in enumerate(rules) if rule.severity == "warning"]
    broken = np.logical_or.reduce(by_rule[errors], axis=0)
    warned = np.logical_or.reduce(by_rule[warnings], axis=0) & ~broken
    return RuleHits(tuple(rules), by_rule.T, np.count_nonzero(by_rule, axis=1), broken, warned)
