"""The charts of the explorer, as Vega-Lite specifications. They have no data: the page's script
gives them rows, so that nothing of a study is in a specification. Each encoding is interpreted for
each point, and so lines have as few as they can."""

from typing import Any

import altair as alt

CONFIG = {
    **{"font": "system-ui, sans-serif", "view": {"stroke": None}, "background": "white"},
    # What is drawn is told by the name of its place, and by a table.
    "aria": False,
    "axis": {"labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal",
             "gridColor": "#eee", "labelLimit": 130},
    "mark": {"invalid": "filter", "cursor": "pointer"},
}  # fmt: skip
COLOUR = alt.Color("colour:N", scale=None)


def specifications() -> dict[str, Any]:
    """By name the charts; `squares` is drawn once for each model."""
    drawn = {
        "squares": squares(),
        "dots": dots(),
        "accuracy": lines("validation accuracy (%)"),
        "loss": lines("training loss (nats)", log=True),
        "norm": lines("gradient norm before clipping", log=True),
        "clipped": lines("steps clipped so far (%)"),
    }
    return {name: one.to_dict() for name, one in drawn.items()}


def chart(rows: str) -> Any:
    """Of rows by this name, whose numbers are numbers already."""
    return alt.Chart(alt.NamedData(rows, format=alt.DataFormat(parse=None)))


def sized(chart: Any, height: int) -> Any:
    """As wide as its place in the page."""
    fit = alt.AutoSizeParams(type="fit", contains="padding")
    return chart.properties(width="container", height=height, autosize=fit).configure(**CONFIG)


def squares() -> Any:
    """Clip against learning rate. Rows: `rate`, `column`, `clip`, `row`, `share` (0 dark, 1 light;
    null grey), `said` (what stands in the square)."""
    rate = alt.EncodingSortField("column", op="min")
    clip = alt.EncodingSortField("row", op="min", order="descending")  # as in the report's map
    axis = alt.Axis(labelAngle=0, grid=False)
    base = chart("rows").encode(
        alt.X("rate:O", title="learning rate η", axis=axis, sort=rate),
        alt.Y("clip:N", title=None, axis=axis, sort=clip),
    )
    viridis = alt.Scale(scheme="viridis", domain=[0, 1])
    colour = alt.Color("share:Q", scale=viridis, legend=None)
    none, white, black = alt.value("#d9d9d9"), alt.value("white"), alt.value("#222")
    squares = base.mark_rect(stroke="white", strokeWidth=1, invalid="show")
    words = base.mark_text(fontSize=10, lineHeight=11, lineBreak="\n", invalid="show").encode(
        text="said:N"
    )
    dark = "datum.share != null && datum.share < 0.55"
    return sized(
        alt.layer(
            squares.encode(color=alt.condition("datum.share == null", none, colour)),
            words.encode(color=alt.condition(dark, white, black)),
        ),
        220,
    )


def dots() -> Any:
    """A point a cell. Rows: `x`, `y`, `colour`, `failed`, `inside` (the box). Titles and scales are
    set by the script, as the reader chooses the measures."""
    shape = alt.Scale(domain=[False, True], range=["circle", "triangle-up"])
    points = chart("rows").mark_point(filled=True, size=36)
    points = points.encode(
        alt.X("x:Q", scale=alt.Scale(zero=False)),
        alt.Y("y:Q", scale=alt.Scale(zero=False)),
        COLOUR,
        alt.Shape("failed:N", scale=shape, legend=None),
        opacity=alt.condition("datum.inside", alt.value(0.7), alt.value(0.1)),
    )
    return sized(points.add_params(alt.selection_interval(name="brush")), 320)


def lines(title: str, log: bool = False) -> Any:
    """Lines over steps. Rows of `rows`, where each run has one: `told` (which tells them apart),
    `step`, `y`, `colour`. Rows of `bold`, the same of the chosen run, or of medians of many runs,
    with the ends of a band, `low` and `high`. Rows of `limits`: `limit`, `colour`. The parameter
    `top` cuts off what is above it."""
    scale = alt.Scale(**{"type": "log"} if log else {"zero": False}, domainMax=alt.ExprRef("top"))
    axis = alt.Axis(format="~g") if log else alt.Axis()
    x, y = alt.X("step:Q", title="step"), alt.Y("y:Q", title=title, scale=scale, axis=axis)
    each, bold = (chart(name).encode(x, COLOUR, detail="told:N") for name in ("rows", "bold"))
    rules = chart("limits").mark_rule(strokeDash=[5, 3], strokeWidth=1.5)
    low = alt.Y("low:Q", title=title, scale=scale, axis=axis)
    whole = alt.layer(
        bold.mark_area(opacity=0.12, clip=True).encode(low, y2="high:Q"),
        each.mark_line(strokeWidth=0.9, opacity=0.45, clip=True).encode(y),
        bold.mark_line(strokeWidth=2, clip=True).encode(y),
        rules.encode(alt.Y("limit:Q"), COLOUR),
    )
    return sized(whole.add_params(alt.param(name="top", value=None)), 240)
