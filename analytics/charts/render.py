"""Charts as PNG and SVG, for downloads, emails and PDFs."""

import json
import textwrap

from analytics.charts.spec import MUTED, Spec
from common.renderers import render
from common.texts import all_printable

WIDTH = 900
PIXELS_PER_POINT = 2
SOURCE_CHARACTERS = 165  # of one line below a chart
# What Vega-Lite takes for a whole specification only, not for a chart in it.
_OF_WHOLE = ("$schema", "config", "background", "padding", "datasets", "autosize")


def png(spec: Spec, title: str = "", source: str = "", width: int = WIDTH) -> bytes:
    """A PNG with two pixels per point, sharp in print and on high-resolution screens."""
    [image] = render(
        "chart_png", spec=_on_paper(spec, title, source, width), scale=PIXELS_PER_POINT
    )
    return image


def svg(spec: Spec, title: str = "", source: str = "", width: int = WIDTH) -> str:
    [image] = render("chart_svg", spec=_on_paper(spec, title, source, width))
    return image.decode()


def _on_paper(spec: Spec, title: str, source: str, width: int) -> str:
    """The chart at a fixed width on white, as JSON; with a title, it also gets a margin.

    A note of the specification stays, below the title. `source` stands below the chart.
    """
    fixed = spec | {"width": width, "background": "white"}
    if title:
        heading = {"text": title, "anchor": "start", "fontSize": 15, "offset": 14}
        if note := spec.get("title"):
            heading |= {"subtitle": note["text"], "subtitleFontSize": 11, "subtitlePadding": 4}
        padding = dict.fromkeys(("left", "right", "top", "bottom"), 16)
        fixed |= {"title": heading, "config": spec["config"] | {"padding": padding}}
    return json.dumps(all_printable(_with_source(fixed, source) if source else fixed))


def _with_source(chart: Spec, source: str) -> Spec:
    """A concatenation of one chart, since only that can have another title below."""
    outer = {name: chart[name] for name in _OF_WHOLE if name in chart}
    inner = {name: value for name, value in chart.items() if name not in _OF_WHOLE}
    lines = textwrap.wrap(source, SOURCE_CHARACTERS)
    below = {"text": lines, "orient": "bottom", "anchor": "start", "offset": 10, "fontSize": 11}
    below |= {"fontWeight": "normal", "color": MUTED}
    return outer | {"title": below, "vconcat": [inner]}
