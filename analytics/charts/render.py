"""Specifications drawn without a browser, for downloads, mails and documents."""

from typing import Any

import vl_convert

from analytics.charts.spec import Spec

WIDTH = 900
PIXELS_PER_POINT = 2


def png(spec: Spec, title: str = "", width: int = WIDTH) -> bytes:
    """Twice as many pixels as points, so that it is sharp on paper and on good screens."""
    on_paper = _on_paper(spec, title, width)
    image: bytes = vl_convert.vegalite_to_png(on_paper, scale=PIXELS_PER_POINT)
    return image


def svg(spec: Spec, title: str = "", width: int = WIDTH) -> str:
    image: str = vl_convert.vegalite_to_svg(_on_paper(spec, title, width))
    return image


def _on_paper(spec: Spec, title: str, width: int) -> dict[str, Any]:
    """On white, in one width: with a margin around it under a title of its own, or with neither."""
    fixed = spec | {"width": width, "background": "white"}
    if not title:
        return fixed
    heading = {"text": title, "anchor": "start", "fontSize": 15, "offset": 14}
    padding = dict.fromkeys(("left", "right", "top", "bottom"), 16)
    return fixed | {"title": heading, "config": spec["config"] | {"padding": padding}}
