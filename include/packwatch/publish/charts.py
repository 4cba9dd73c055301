"""Charts of the weekly report: frames in, one SVG text each out.

An SVG has neither script nor link nor id, so several can stand in one page, and the same frame always gives the same
bytes. Colours and lightness differ together, and shapes differ too: a chart printed in grey says the same.
"""

from __future__ import annotations

import html
import re
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import vl_convert

INK = "#18232e"
MUTED = "#56636f"
GRID = "#dde3e8"
BAND = "#f4f6f8"
BLUE = "#1f5f99"
PALE = "#cfdeec"
# Three times as dark as the paper, as graphics must be to be seen by most eyes.
INTERVAL = "#7099be"
ALERT = "#b3261e"
ALERT_INTERVAL = "#d0776e"
CHARGE_COLORS = {"AC": "#5c98ce", "DC": "#16456f", "unknown": "#8a949c"}

# Below this a pack of most makers is covered by the warranty of eight years.
WARRANTY_SOH_PERCENT = 70.0
# More marks than this cannot be told apart on a page; they would only make it heavy.
VEHICLES_DRAWN_MAX = 480
TYPES_DRAWN_MAX = 30
HOTTEST_SHOWN = 6
# Spreads of healthy packs at rest lie below 20 mV; past 60 mV the height of a pack is told by its alert, not by a bin.
SPREAD_BIN_MV = 5
SPREAD_LAST_MV = 60

# Sizes in px: the wide chart spans the page, the narrow one a phone, the half one a column of the page or a phone.
WIDE, NARROW, HALF = 880, 350, 410
_HALF_HEIGHT = 190
_ROW_MAX, _ROW_MIN, _ROWS_HEIGHT = 13.0, 1.7, 620.0
_GROUP_MIN, _GROUP_GAP, _GROUP_HEAD = 38.0, 10.0, 24.0

# Arial and its free twin have the same widths, so a text measured here fits wherever the page is read.
_FONT = "Arial, Liberation Sans, sans-serif"
_CONFIG: dict[str, Any] = {
    "aria": False,  # the SVG as a whole has a description; thousands of described marks would only bury it
    "background": "white",
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED,
        "labelFontSize": 12,
        "titleColor": MUTED,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "gridColor": GRID,
        "domain": False,
        "ticks": False,
        "labelPadding": 6,
    },
}
_SVG_HEAD = re.compile(r"<svg[^>]*?(viewBox=\"[^\"]+\")[^>]*>")


def health(vehicles: pd.DataFrame, description: str, *, narrow: bool = False) -> str:
    """Draw the state of health of each vehicle with its 90 % interval, grouped by type.

    Args:
        vehicles: `choose_drawn`'s rows: type, soh_percent, soh_lower_percent, soh_upper_percent, has_alert.
        description: what the chart shows, for those who do not see it.
        narrow: for a phone: the name of a type stands above its vehicles, not beside them.
    """
    rows, groups, height = lay_out(vehicles, head=_GROUP_HEAD if narrow else 0.0)
    left, right = (4, 12) if narrow else (215, 92)
    inner = (NARROW if narrow else WIDE) - left - right
    row_height = float(rows["row_height"].iloc[0])
    low = 5 * np.floor(min(rows["soh_lower_percent"].min(), rows["soh_percent"].min()) / 5)
    high = max(100.0, 5 * np.ceil(max(rows["soh_upper_percent"].max(), rows["soh_percent"].max()) / 5))
    ticks = np.arange(low, high + 1, 5 if high - low <= 60 else 10)
    axis = alt.Axis(
        orient="top",
        labelExpr="datum.value + ' %'",
        values=(ticks[::2] if narrow else ticks).tolist(),
        grid=False,
        labelFlush=narrow,
    )
    scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    y_scale = alt.Scale(domain=[0, height], range=[0, height], nice=False)
    x = alt.X("soh_percent:Q", scale=scale, axis=axis, title=None)
    y = alt.Y("y:Q", scale=y_scale, axis=None)
    base, group = alt.Chart(rows), alt.Chart(groups)
    color = alt.condition("datum.has_alert", alt.value(ALERT), alt.value(BLUE))
    layers = [
        group.transform_filter("datum.banded")
        .mark_rect(color=BAND)
        .encode(
            x=alt.value(-left), x2=alt.value(inner + right), y=alt.Y("top:Q", scale=y_scale, axis=None), y2="bottom:Q"
        ),
        # The grid is drawn here and not by the axis, because an axis lies below the bands.
        alt.Chart(pd.DataFrame({"x": ticks}))
        .mark_rule(color=GRID)
        .encode(x=alt.X("x:Q", scale=scale, axis=axis, title=None)),
        base.mark_rule(strokeWidth=min(3.0, max(0.6, 0.3 * row_height)), strokeCap="round").encode(
            x=alt.X("soh_lower_percent:Q", scale=scale, axis=axis, title=None),
            x2="soh_upper_percent:Q",
            y=y,
            color=alt.condition("datum.has_alert", alt.value(ALERT_INTERVAL), alt.value(INTERVAL)),
        ),
        group.mark_rule(color=INK, strokeWidth=1.5).encode(
            x=alt.X("median:Q", scale=scale, axis=axis, title=None),
            y=alt.Y("first:Q", scale=y_scale, axis=None),
            y2="last:Q",
        ),
        base.transform_filter("!datum.has_alert")
        .mark_point(filled=True, opacity=1, shape="circle", size=min(46.0, 6 + 3 * row_height))
        .encode(x=x, y=y, color=color),
        base.transform_filter("datum.has_alert")
        .mark_point(filled=True, opacity=1, shape="diamond", size=min(80.0, 16 + 5 * row_height))
        .encode(x=x, y=y, color=color),
    ]
    if shows_warranty(vehicles):
        limit = alt.Chart(pd.DataFrame({"x": [WARRANTY_SOH_PERCENT]}))
        layers.insert(
            2,
            limit.mark_rule(color=MUTED, strokeDash=[4, 3]).encode(x=alt.X("x:Q", scale=scale, axis=axis, title=None)),
        )
    layers += _narrow_labels(group, inner, y_scale) if narrow else _wide_labels(group, left, inner, right, y_scale)
    return _svg(layers, description, inner, height, {"left": left, "right": right, "top": 26, "bottom": 6})


def shows_warranty(vehicles: pd.DataFrame) -> bool:
    """Tell whether any of `choose_drawn`'s rows reaches below the warranty's limit, so that its line is drawn."""
    return bool((vehicles[["soh_lower_percent", "soh_percent"]].min(axis=1) < WARRANTY_SOH_PERCENT).any())


def choose_drawn(vehicles: pd.DataFrame) -> pd.DataFrame:
    """Return the vehicles that `health` draws, in its order: types by median, vehicles by state of health.

    A vehicle without a state of health is never among them. Of very many types those with most vehicles stay; of very
    many vehicles an even choice by rank stays, with the lowest and the highest of each type.
    """
    known = vehicles[vehicles["soh_percent"].notna()]
    by_type = vehicles.groupby("type")["soh_percent"].agg(["median", "count", "size"]).reset_index()
    common = by_type.sort_values(["count", "type"], ascending=[False, True]).head(TYPES_DRAWN_MAX)
    ordered = known.merge(common, on="type").sort_values(["median", "type", "soh_percent", "vehicle_id"])
    step = np.floor(np.arange(len(ordered)) * min(1.0, VEHICLES_DRAWN_MAX / max(1, len(ordered))))
    edge = ~(ordered["type"].duplicated() & ordered["type"].duplicated(keep="last"))
    return ordered[edge.to_numpy() | (np.diff(step, prepend=-1.0) > 0)].reset_index(drop=True)


def lay_out(vehicles: pd.DataFrame, head: float) -> tuple[pd.DataFrame, pd.DataFrame, float]:
    """Place vehicles (sorted by type) below each other, px from the top; `head` px stay free above each type.

    Returns:
        The vehicles with y; the types with top, bottom, first and last y, and their labels; the height.
    """
    row_height = float(np.clip(_ROWS_HEIGHT / len(vehicles), _ROW_MIN, _ROW_MAX))
    by_type = vehicles.groupby("type", sort=False)
    groups = by_type[["median", "count", "size"]].first().assign(drawn=by_type.size()).reset_index()
    rows_height = groups["drawn"].to_numpy() * row_height
    heights = np.maximum(rows_height + _GROUP_GAP + head, _GROUP_MIN)
    bottom = np.cumsum(heights)
    start = bottom - heights + head + (heights - head - rows_height) / 2
    of_all = np.where(groups["count"] < groups["size"], " of " + groups["size"].map("{:,}".format), "")
    counts = groups["count"].map("{:,}".format) + of_all + np.where(groups["size"] == 1, " vehicle", " vehicles")
    groups = groups.assign(
        top=bottom - heights,
        head=bottom - heights + head,
        bottom=bottom,
        first=start - 1.5,
        last=start + rows_height + 1.5,
        middle=(bottom - heights + bottom) / 2,
        banded=np.arange(len(groups)) % 2 == 0,
        counts=counts,
        median_text=groups["median"].round(1).astype("str") + " %",
    )
    index = groups.set_index("type").index.get_indexer(vehicles["type"])
    rank = by_type.cumcount().to_numpy()
    rows = vehicles[["soh_percent", "soh_lower_percent", "soh_upper_percent", "has_alert"]].assign(
        # A state of health that came without an interval is a point.
        soh_lower_percent=vehicles["soh_lower_percent"].fillna(vehicles["soh_percent"]),
        soh_upper_percent=vehicles["soh_upper_percent"].fillna(vehicles["soh_percent"]),
        y=np.round(start[index] + (rank + 0.5) * row_height, 2),
        row_height=row_height,
    )
    return rows, groups, float(np.ceil(bottom[-1]))


def _wide_labels(group: alt.Chart, left: int, inner: int, right: int, scale: alt.Scale) -> list[alt.Chart]:
    """Return the texts beside the groups: type and count on the left, median on the right."""
    y = alt.Y("middle:Q", scale=scale, axis=None)
    name = group.mark_text(align="left", dy=-8, fontSize=13, fontWeight="bold", color=INK, limit=left - 24)
    count = group.mark_text(align="left", dy=8, fontSize=12, color=MUTED)
    value = group.mark_text(align="right", dy=-8, fontSize=13, fontWeight="bold", color=INK)
    median = group.mark_text(align="right", dy=8, fontSize=12, color=MUTED)
    return [
        name.encode(x=alt.value(10 - left), y=y, text="type:N"),
        count.encode(x=alt.value(10 - left), y=y, text="counts:N"),
        value.encode(x=alt.value(inner + right - 10), y=y, text="median_text:N"),
        median.encode(x=alt.value(inner + right - 10), y=y, text=alt.value("median")),
    ]


def _narrow_labels(group: alt.Chart, inner: int, scale: alt.Scale) -> list[alt.Chart]:
    """Return the texts above the groups."""
    y = alt.Y("top:Q", scale=scale, axis=None)
    # A name stands free of the lines behind it.
    cover = group.mark_rect().encode(
        x=alt.value(0),
        x2=alt.value(inner),
        y=y,
        y2="head:Q",
        color=alt.condition("datum.banded", alt.value(BAND), alt.value("white")),
    )
    name = group.mark_text(align="left", dy=14, fontSize=13, fontWeight="bold", color=INK, limit=inner - 120)
    value = group.transform_calculate(value="'median ' + datum.median_text").mark_text(
        align="right", dy=14, fontSize=12, color=MUTED
    )
    return [
        cover,
        name.encode(x=alt.value(4), y=y, text="type:N"),
        value.encode(x=alt.value(inner + 6), y=y, text="value:N"),
    ]


def energy(days: pd.DataFrame, description: str) -> str:
    """Draw the energy charged per day, kWh, AC, DC and unknown stacked.

    Args:
        days: day (label), charge_type, energy_kwh; every day in order, also those without a charge.
        description: what the chart shows.
    """
    totals = days.groupby("day", sort=False)["energy_kwh"].sum().reset_index()
    totals["text"] = totals["energy_kwh"].map("{:,.0f}".format)
    stack = days[["day", "charge_type", "energy_kwh"]].assign(
        rank=days["charge_type"].map({name: rank for rank, name in enumerate(CHARGE_COLORS)})
    )
    x = alt.X("day:N", sort=None, axis=alt.Axis(labelAngle=0), title=None, scale=alt.Scale(paddingInner=0.3))
    top = max(1.0, 1.1 * float(totals["energy_kwh"].max()))
    scale = alt.Scale(domain=[0, top], nice=False)
    axis = alt.Axis(tickCount=4, format=",.0f")
    bars = (
        alt.Chart(stack)
        .mark_bar(stroke="white", strokeWidth=1)
        .encode(
            x=x,
            y=alt.Y("energy_kwh:Q", stack="zero", scale=scale, axis=axis, title=None),
            color=alt.Color(
                "charge_type:N",
                scale=alt.Scale(domain=list(CHARGE_COLORS), range=list(CHARGE_COLORS.values())),
                legend=None,
            ),
            order="rank:Q",
        )
    )
    labels = (
        alt.Chart(totals)
        .mark_text(dy=-8, fontSize=12, fontWeight="bold", color=INK)
        .encode(x=x, y=alt.Y("energy_kwh:Q", scale=scale), text="text:N")
    )
    padding = {"left": 46, "right": 6, "top": 22, "bottom": 26}
    return _svg([bars, labels], description, HALF - 52, _HALF_HEIGHT, padding)


def temperatures(hottest: pd.DataFrame, median_c: float, description: str) -> str:
    """Draw the hottest packs of the week, °C, as distances from the fleet's median.

    Args:
        hottest: label, short (id), temperature_max_c, text, when; hottest first.
        median_c: median over the fleet of each pack's highest temperature of the week.
        description: what the chart shows.
    """
    row = 34
    left, right = 196, 72
    inner, height = HALF - left - right, row * len(hottest)
    places = hottest[["label", "short", "temperature_max_c", "text", "when"]].assign(
        y=(np.arange(len(hottest)) + 0.5) * row
    )
    low = min(float(places["temperature_max_c"].min()), median_c) - 1
    high = max(float(places["temperature_max_c"].max()), median_c) + 1
    scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    x = alt.X("temperature_max_c:Q", scale=scale, axis=None)
    y = alt.Y("y:Q", scale=alt.Scale(domain=[0, height], range=[0, height], nice=False), axis=None)
    base = alt.Chart(places)
    fleet = alt.Chart(pd.DataFrame({"x": [median_c], "text": [f"fleet median {median_c:.1f} °C"]}))
    name = base.mark_text(align="left", fontSize=12, dy=-7, color=INK, limit=left - 12)
    identifier = base.mark_text(align="left", fontSize=11, dy=8, color=MUTED)
    degrees = base.mark_text(align="right", fontSize=12, dy=-7, fontWeight="bold", color=INK)
    when = base.mark_text(align="right", fontSize=11, dy=8, color=MUTED)
    layers = [
        fleet.mark_rule(color=MUTED, strokeDash=[4, 3]).encode(x=alt.X("x:Q", scale=scale, axis=None)),
        fleet.mark_text(color=MUTED, fontSize=12, align="left", dx=-6).encode(
            x=alt.X("x:Q", scale=scale, axis=None), y=alt.value(-10), text="text:N"
        ),
        base.mark_rule(color=INTERVAL, strokeWidth=3).encode(x=x, x2=alt.datum(median_c), y=y),
        base.mark_point(filled=True, opacity=1, color=BLUE, size=60).encode(x=x, y=y),
        name.encode(x=alt.value(-left), y=y, text="label:N"),
        identifier.encode(x=alt.value(-left), y=y, text="short:N"),
        degrees.encode(x=alt.value(inner + right), y=y, text="text:N"),
        when.encode(x=alt.value(inner + right), y=y, text="when:N"),
    ]
    return _svg(layers, description, inner, height, {"left": left, "right": right, "top": 24, "bottom": 6})


def spread_bins(spreads_mv: pd.Series) -> pd.DataFrame:
    """Count vehicles by cell spread, mV: bins of `SPREAD_BIN_MV`, the last holds everything above."""
    known = spreads_mv.dropna().to_numpy(dtype=float)
    last = SPREAD_LAST_MV // SPREAD_BIN_MV
    counts = np.bincount(np.clip(known // SPREAD_BIN_MV, 0, last).astype(int), minlength=last + 1)
    edges = pd.Series(np.arange(last + 1) * SPREAD_BIN_MV).astype("str")
    labels = edges + "–" + (np.arange(last + 1) * SPREAD_BIN_MV + SPREAD_BIN_MV).astype("str")
    labels.iloc[-1] = f"{SPREAD_LAST_MV} or more"
    return pd.DataFrame({"label": labels, "bin": np.arange(last + 1), "count": counts})


def spreads(bins: pd.DataFrame, description: str) -> str:
    """Draw how many vehicles have which cell spread; `bins` are `spread_bins`."""
    top = 1.15 * max(1, int(bins["count"].max()))
    scale = alt.Scale(domain=[-0.5, len(bins) - 0.5], nice=False, zero=False)
    ticks = list(range(0, len(bins), 2))
    axis = alt.Axis(
        values=[tick - 0.5 for tick in ticks],
        labelExpr=f"(datum.value + 0.5) * {SPREAD_BIN_MV} + (datum.value + 0.5 == {len(bins) - 1} ? '+' : '')",
        grid=False,
    )
    bars = alt.Chart(bins.assign(left=bins["bin"] - 0.44, right=bins["bin"] + 0.44))
    y = alt.Y(
        "count:Q",
        scale=alt.Scale(domain=[0, top], nice=False),
        axis=alt.Axis(tickCount=4, tickMinStep=1, format="d"),
        title=None,
    )
    layers = [
        bars.mark_rect(color=BLUE).encode(
            x=alt.X("left:Q", scale=scale, axis=axis, title=None), x2="right:Q", y=y, y2=alt.datum(0)
        ),
        bars.transform_filter("datum.count > 0")
        .mark_text(dy=-8, fontSize=12, fontWeight="bold", color=INK)
        .encode(x=alt.X("bin:Q", scale=scale, axis=axis, title=None), y=y, text="count:Q"),
    ]
    return _svg(layers, description, HALF - 44, _HALF_HEIGHT, {"left": 36, "right": 8, "top": 22, "bottom": 26})


def quality(days: pd.DataFrame, description: str) -> str:
    """Draw the mean quality score of each day and the range that holds four of five vehicles.

    Args:
        days: day (label), score_mean, score_p10, score_p90; NaN on a day without data.
        description: what the chart shows.
    """
    shown = days[["day", "score_mean", "score_p10", "score_p90"]].assign(text=days["score_mean"].round(1).astype("str"))
    low = min(90.0, 10 * np.floor(days[["score_mean", "score_p10"]].min().min() / 10))
    x = alt.X("day:N", sort=None, axis=alt.Axis(labelAngle=0), title=None)
    scale = alt.Scale(domain=[low, 100], nice=False, zero=False)
    axis = alt.Axis(tickCount=4, format="d")
    base, known = alt.Chart(shown), alt.Chart(shown).transform_filter("isValid(datum.score_mean)")
    layers = [
        known.mark_bar(size=18, color=PALE, stroke=INTERVAL, cornerRadius=4).encode(
            x=x, y=alt.Y("score_p10:Q", scale=scale, axis=axis, title=None), y2="score_p90:Q"
        ),
        known.mark_point(filled=True, opacity=1, color=BLUE, size=60).encode(x=x, y=alt.Y("score_mean:Q", scale=scale)),
        known.mark_text(fontSize=12, fontWeight="bold", color=INK).encode(x=x, y=alt.value(-10), text="text:N"),
        # Keeps the place of a day without data.
        base.mark_point(opacity=0).encode(x=x),
    ]
    return _svg(layers, description, HALF - 42, _HALF_HEIGHT, {"left": 36, "right": 6, "top": 22, "bottom": 26})


def _svg(layers: list[alt.Chart], description: str, width: float, height: float, padding: dict[str, int]) -> str:
    """Render layers of a plot of `width` by `height` px, without the network, to an SVG that scales with its box."""
    chart = alt.layer(*layers).properties(
        width=width, height=height, padding=padding, autosize=alt.AutoSizeParams(type="none")
    )
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    text = vl_convert.vegalite_to_svg(
        chart.configure(**_CONFIG).to_dict(format="vega-lite", validate=False), vl_version=version, allowed_base_urls=[]
    )
    head = f'<svg role="img" aria-label="{html.escape(description)}" '
    return _SVG_HEAD.sub(lambda found: f"{head}{found[1]}>", text, count=1)
