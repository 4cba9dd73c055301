"""Charts of the weekly report: which rows they hold, where they stand, and what the SVG may contain."""

from __future__ import annotations

import numpy as np
import pandas as pd

from packwatch.publish import charts


def test_of_very_many_vehicles_an_even_choice_is_drawn() -> None:
    count = 4 * charts.VEHICLES_DRAWN_MAX
    table = pd.DataFrame(
        {
            "vehicle_id": np.arange(count).astype(str),
            "type": np.where(np.arange(count) < 3, "rare", "common"),
            "soh_percent": np.r_[71.0, 72.0, 73.0, np.linspace(80, 99, count - 3)],
        }
    )
    drawn = charts.choose_drawn(table)
    # One in four, and the edges of both types.
    assert charts.VEHICLES_DRAWN_MAX <= len(drawn) <= charts.VEHICLES_DRAWN_MAX + 4
    assert drawn["soh_percent"].is_monotonic_increasing
    by_type = drawn.groupby("type")["soh_percent"].agg(["min", "max"])
    assert by_type.loc["rare"].tolist() == [71.0, 73.0]
    assert by_type.loc["common"].tolist() == [80.0, 99.0]
    # The median is that of all vehicles, also of those that are not drawn.
    assert drawn.loc[drawn["type"] == "rare", "median"].unique().tolist() == [72.0]


def test_vehicles_stand_below_each_other_and_within_their_type() -> None:
    table = pd.DataFrame(
        {
            "type": ["a", "a", "b"],
            "median": [80.0, 80.0, 95.0],
            "count": [2, 2, 1],
            "size": [3, 3, 1],
            "soh_percent": [79.0, 81.0, 95.0],
            "soh_lower_percent": [75.0, 77.0, np.nan],
            "soh_upper_percent": [83.0, 85.0, np.nan],
            "has_alert": [False, True, False],
        }
    )
    rows, groups, height = charts.lay_out(table, head=0.0)
    # Rows are 13 px. A group has at least 38 px: a from 0 to 38 with its 26 px in the middle, b from 38 to 76.
    assert rows["y"].tolist() == [12.5, 25.5, 57.0]
    assert height == 76.0
    assert groups["counts"].tolist() == ["2 of 3 vehicles", "1 vehicle"]
    # A state of health without an interval is a point.
    assert rows.loc[2, ["soh_lower_percent", "soh_upper_percent"]].tolist() == [95.0, 95.0]


def test_spreads_are_counted_by_five_millivolts() -> None:
    bins = charts.spread_bins(pd.Series([0.0, 4.99, 5.0, 59.9, 60.0, 400.0, np.nan]))
    counted = {row["label"]: row["count"] for row in bins.to_dict("records") if row["count"]}
    assert counted == {"0–5": 2, "5–10": 1, "55–60": 1, "60 or more": 2}
    assert bins["count"].sum() == 6


def test_a_chart_without_network_is_one_svg_with_a_description() -> None:
    svg = charts.spreads(charts.spread_bins(pd.Series([3.0])), 'one "vehicle" & more')
    assert svg.startswith('<svg role="img" aria-label="one &quot;vehicle&quot; &amp; more" viewBox="0 0 ')
    assert "http" not in svg
    assert " id=" not in svg
