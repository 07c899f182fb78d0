"""A process that draws charts, typesets documents and composes mails, one request at a time.

The native libraries abort on some inputs, so they run where nothing else does.
"""

from functools import cache
from typing import Literal

import mrml
import typst
import vl_convert

from common.renderer_loop import main


def chart_png(spec: str, scale: float) -> list[bytes]:
    return [vl_convert.vegalite_to_png(spec, scale=scale, allowed_base_urls=[])]


def chart_svg(spec: str) -> list[bytes]:
    return [vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]).encode()]


def document(
    template: str,
    fonts: str,
    report: str,
    timestamp: int,
    form: Literal["pdf", "png"],
    resolution: int | None = None,
) -> list[bytes]:
    """The template with the data in `report`, as one PDF or one PNG per page."""
    made: bytes | list[bytes] = typst.compile(
        template,
        format=form,
        font_paths=_fonts(fonts),
        sys_inputs={"report": report},
        timestamp=timestamp,
        ppi=resolution,
    )
    return made if isinstance(made, list) else [made]


@cache
def _fonts(folder: str) -> typst.Fonts:
    """Bundled fonts come first, so that a PDF looks the same on every machine."""
    return typst.Fonts(font_paths=[folder])


def mail(mjml: str) -> list[bytes]:
    return [mrml.to_html(mjml).content.encode()]


if __name__ == "__main__":
    main(chart_png, chart_svg, document, mail)
