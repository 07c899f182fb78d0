"""Charts as PNG and SVG, for downloads, emails and PDFs."""

from typing import Any

import vl_convert

from analytics.charts.spec import Spec

WIDTH = 900
PIXELS_PER_POINT = 2


def png(spec: Spec, title: str = "", width: int = WIDTH) -> bytes:
    """A PNG with two pixels per point, sharp in print and on high-resolution screens."""
    on_paper = _on_paper(spec, title, width)
    image: bytes = vl_convert.vegalite_to_png(on_paper, scale=PIXELS_PER_POINT)
    return image


def svg(spec: Spec, title: str = "", width: int = WIDTH) -> str:
    image: str = vl_convert.vegalite_to_svg(_on_paper(spec, title, width))
    return image


def _on_paper(spec: Spec, title: str, width: int) -> dict[str, Any]:
    """The chart at a fixed width on white; with a title, it also gets a margin."""
    fixed = spec | {"width": width, "background": "white"}
    if not title:
        return fixed
    heading = {"text": title, "anchor": "start", "fontSize": 15, "offset": 14}
    padding = dict.fromkeys(("left", "right", "top", "bottom"), 16)
    return fixed | {"title": heading, "config": spec["config"] | {"padding": padding}}
