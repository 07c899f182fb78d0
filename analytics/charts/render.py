"""Charts as PNG and SVG, for downloads, emails and PDFs."""

import json

from analytics.charts.spec import Spec
from common.renderers import render
from common.texts import all_printable

WIDTH = 900
PIXELS_PER_POINT = 2


def png(spec: Spec, title: str = "", width: int = WIDTH) -> bytes:
    """A PNG with two pixels per point, sharp in print and on high-resolution screens."""
    [image] = render("chart_png", spec=_on_paper(spec, title, width), scale=PIXELS_PER_POINT)
    return image


def svg(spec: Spec, title: str = "", width: int = WIDTH) -> str:
    [image] = render("chart_svg", spec=_on_paper(spec, title, width))
    return image.decode()


def _on_paper(spec: Spec, title: str, width: int) -> str:
    """The chart at a fixed width on white, as JSON; with a title, it also gets a margin.

    A note of the specification stays, below the title.
    """
    fixed = spec | {"width": width, "background": "white"}
    if title:
        heading = {"text": title, "anchor": "start", "fontSize": 15, "offset": 14}
        if note := spec.get("title"):
            heading |= {"subtitle": note["text"], "subtitleFontSize": 11, "subtitlePadding": 4}
        padding = dict.fromkeys(("left", "right", "top", "bottom"), 16)
        fixed |= {"title": heading, "config": spec["config"] | {"padding": padding}}
    return json.dumps(all_printable(fixed))
