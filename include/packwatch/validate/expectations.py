"""Compile the rule table to a Great Expectations suite, count with it, and decide whether a batch may pass.

Great Expectations costs seconds and some 280 MB to import, so only functions import it. It runs in SUMMARY mode:
counts, no list of broken values, which is the row mask's job. Nothing is written and nothing is sent anywhere.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from packwatch import errors
from packwatch.validate.rules import BY_CODE, RULES, Rule, RuleHits, row_mask

# Great Expectations copies all columns of its frame for each rule, so a few at a time are over twice as fast.
RULES_PER_FRAME = 3
# How much of a rejected batch an error message lists.
RULES_LISTED_MAX = 10
OBJECTS_LISTED_MAX = 5

BROKEN_ROW = Rule("broken_row", "The row breaks a rule.", ("broken_row",), "in_set", values=(False,))


@dataclass(frozen=True)
class GateResult:
    """The verdict on a batch.

    bad_share: share (0 to 1) of the rows, unreadable ones included, that go to quarantine.
    rule_counts: broken rows of each rule. reject_counts: unreadable rows of each reason.
    worst_objects: source object, its bad rows, all its rows; most bad rows first.
    """

    passed: bool
    bad_share: float
    bad_share_max: float
    rows: int
    rows_bad: int
    rule_counts: Mapping[str, int]
    reject_counts: Mapping[str, int]
    worst_objects: tuple[tuple[str, int, int], ...]
    message: str

    def raise_if_failed(self) -> None:
        """Stop a batch that did not pass.

        Raises:
            packwatch.errors.BatchRejected: too large a share of the rows is bad.
        """
        if not self.passed:
            raise errors.BatchRejected(self.message)


def run_gate(
    checkable: pd.DataFrame,
    rules: Sequence[Rule] = RULES,
    bad_share_max: float = 0.25,
    rejects: pa.Table | None = None,
) -> GateResult:
    """Check one frame with Great Expectations and decide whether it may pass.

    Args:
        checkable: what `derive` returns.
        rules: the rules to check.
        bad_share_max: largest share of bad rows that passes, 0 to 1.
        rejects: rows of the same objects that could not be read at all (columns source_object and reason).
    """
    hits = row_mask(checkable, rules)
    counts = count_violations(checkable, hits)
    bad = Counter(checkable["source_object"][hits.broken].value_counts().to_dict())
    rows = Counter(checkable["source_object"].value_counts().to_dict())
    reasons: Counter[str] = Counter()
    if rejects is not None:
        bad.update(rejects["source_object"].to_pylist())
        rows.update(rejects["source_object"].to_pylist())
        reasons.update(rejects["reason"].to_pylist())
    return decide(counts, bad_share_max, [(name, bad[name], rows[name]) for name in rows], reasons)


def count_violations(checkable: pd.DataFrame, hits: RuleHits) -> dict[str, int]:
    """Count with Great Expectations the rows that break each rule, and under `broken_row` those that break any error.

    Args:
        checkable: what `derive` returns.
        hits: the row mask of `checkable`. Only which rows break any error is taken from it: no expectation spans rules.

    Raises:
        packwatch.errors.PackwatchError: an expectation could not be evaluated.
    """
    frame = checkable.assign(broken_row=hits.broken)
    rules = (*hits.rules, BROKEN_ROW)
    batch_definition = _batch_definition()
    counts: dict[str, int] = {}
    for first in range(0, len(rules), RULES_PER_FRAME):
        part = rules[first : first + RULES_PER_FRAME]
        columns = list(dict.fromkeys(column for rule in part for column in rule.columns))
        counts |= _validate(batch_definition, frame[columns], part, f"rules from {first + 1}")
    return counts


def decide(
    counts: Mapping[str, int],
    bad_share_max: float,
    objects: Iterable[tuple[str, int, int]],
    reject_counts: Mapping[str, int],
) -> GateResult:
    """Decide on a batch from its counts; pure, so that counts of several parts can be added up first.

    A rule alone never fails a batch: a row that breaks three rules is one bad row.

    Args:
        counts: broken rows of each rule, and of any error under `broken_row`.
        bad_share_max: largest share of bad rows that passes, 0 to 1.
        objects: source object, its bad rows, all its rows; unreadable rows are both.
        reject_counts: unreadable rows of each reason.
    """
    objects = list(objects)
    total = sum(rows for _, _, rows in objects)
    bad = counts.get(BROKEN_ROW.code, 0) + sum(reject_counts.values())
    share = bad / total if total else 0.0
    worst = sorted((o for o in objects if o[1]), key=lambda o: (-o[1], o[2], o[0]))[:OBJECTS_LISTED_MAX]
    rule_counts = {code: count for code, count in counts.items() if code != BROKEN_ROW.code}
    passed = share <= bad_share_max
    verdict = f"{bad:,} of {total:,} rows ({share:.2%}) are bad; the limit is {bad_share_max:.2%}."
    message = f"Batch passed: {verdict}" if passed else _explain(verdict, rule_counts, reject_counts, worst)
    return GateResult(passed, share, bad_share_max, total, bad, rule_counts, dict(reject_counts), tuple(worst), message)


def _explain(
    verdict: str,
    rule_counts: Mapping[str, int],
    reject_counts: Mapping[str, int],
    worst: Sequence[tuple[str, int, int]],
) -> str:
    """Say why a batch was rejected: how much, which rules, where, and what to do."""
    failing = {code: n for code, n in rule_counts.items() if n and _is_error(code)} | dict(reject_counts)
    ordered = sorted(failing.items(), key=lambda item: (-item[1], item[0]))
    reasons = "\n".join(f"  {count:,} rows: {code}" for code, count in ordered[:RULES_LISTED_MAX])
    places = "\n".join(f"  {name}: {bad:,} of {rows:,} rows" for name, bad, rows in worst)
    return (
        f"Batch rejected: {verdict}\n"
        f"Most frequent reasons:\n{reasons}\n"
        f"Worst source objects:\n{places}\n"
        "Cure: look at rows of these objects; if a unit, a format or a clock is not what the log claims, upload the "
        "object corrected and run the day again. If the rows are truly that bad and the rest is wanted, raise "
        "PACKWATCH_BAD_SHARE_MAX for this run."
    )


def _is_error(code: str) -> bool:
    """Say whether a rule sends rows to quarantine; one that is not in the table was given by the caller, and does."""
    return code not in BY_CODE or BY_CODE[code].severity == "error"


def _great_expectations() -> Any:
    """Import Great Expectations quietly and with its usage reports off."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    # It logs some two hundred lines at INFO while it is imported.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # It imports modules of the standard library that are deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        import great_expectations as gx
        import great_expectations.expectations
    return gx


def _batch_definition() -> Any:
    """Return where a frame enters Great Expectations: a fresh context in memory, without progress bars on stderr."""
    gx = _great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    asset = context.data_sources.add_pandas("lake").add_dataframe_asset("rows")
    return asset.add_batch_definition_whole_dataframe("checkable")


def _expectation(gx: Any, rule: Rule) -> Any:
    """Compile one rule. Great Expectations leaves missing values out, as the row mask does."""
    common = {
        "severity": "critical" if rule.severity == "error" else "warning",
        "meta": {"code": rule.code},
        "notes": rule.sentence,
    }
    column = rule.columns[0]
    if rule.kind == "not_null":
        return gx.expectations.ExpectColumnValuesToNotBeNull(column=column, **common)
    if rule.kind == "in_set":
        return gx.expectations.ExpectColumnValuesToBeInSet(column=column, value_set=list(rule.values), **common)
    if rule.kind == "not_less_than":
        return gx.expectations.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A=column,
            column_B=rule.columns[1],
            or_equal=True,
            ignore_row_if="either_value_is_missing",
            **common,
        )
    return gx.expectations.ExpectColumnValuesToBeBetween(
        column=column, min_value=rule.minimum, max_value=rule.maximum, **common
    )


def _validate(batch_definition: Any, frame: pd.DataFrame, rules: Sequence[Rule], name: str) -> dict[str, int]:
    """Run one suite on one narrow frame and return the unexpected count of each rule."""
    gx = _great_expectations()
    context = batch_definition.data_asset.datasource.data_context
    suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=[_expectation(gx, rule) for rule in rules]))
    definition = gx.ValidationDefinition(name=name, data=batch_definition, suite=suite)
    outcome = context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": frame},
        result_format={"result_format": "SUMMARY", "partial_unexpected_count": 0},
    )
    counts = {}
    for result in outcome.results:
        code = result.expectation_config.meta["code"]
        if result.exception_info.get("raised_exception", False) or "unexpected_count" not in result.result:
            raise errors.PackwatchError(
                f"rule {code} could not be evaluated on {len(frame):,} rows: {result.exception_info}. "
                "Cure: install the version of great-expectations that requirements.txt names."
            )
        counts[code] = int(result.result["unexpected_count"])
    return counts
