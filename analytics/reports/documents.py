"""Reports as PDFs, and their pages as images for the preview."""

import json
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from django.utils.formats import date_format

from analytics.charts import render
from analytics.reports.content import Content, TileContent
from common.renderers import render as render_apart
from common.texts import all_printable, words
from tenants.models import Tenant

_TEMPLATE = Path(__file__).parent / "document.typ"
PREVIEW_PIXELS_PER_INCH = 80
CHART_WIDTH = 800


def pdf(content: Content, tenant: Tenant) -> bytes:
    """The report as a PDF. The same content always gives the same bytes."""
    [document] = render_apart("document", form="pdf", **_inputs(content, tenant))
    return document


def pages_as_png(content: Content, tenant: Tenant) -> list[bytes]:
    return render_apart(
        "document", form="png", resolution=PREVIEW_PIXELS_PER_INCH, **_inputs(content, tenant)
    )


def _inputs(content: Content, tenant: Tenant) -> dict[str, Any]:
    return {
        "template": str(_TEMPLATE),
        "fonts": str(files("font_roboto") / "files"),
        "report": json.dumps(all_printable(_plain(content, tenant))),
        "timestamp": int(content.as_of_instant.timestamp()),
    }


def _plain(content: Content, tenant: Tenant) -> dict[str, Any]:
    zone = ZoneInfo(content.zone)
    return {
        "title": f"{content.tenant} – {content.report} – {content.period}",
        "tenant": content.tenant,
        "color": tenant.color,
        "logo": list(bytes(tenant.logo)),
        "report": content.report,
        "period": content.period,
        "filters": content.filters,
        "notices": content.notices,
        "footer": f"{as_of_text(content)} · {freshness_text(content)}",
        "digest": content.digest,
        "tiles": [_tile(each, content) for each in content.tiles],
        "sources": [
            [
                words(each.table),
                each.file,
                local_text(each.file_time, zone),
                f"{local_text(each.loaded_at, zone)}, load {each.load_id}",
            ]
            for each in content.sources
        ],
    }


def _tile(tile: TileContent, content: Content) -> dict[str, Any]:
    svg = render.svg(tile.spec, width=CHART_WIDTH) if tile.spec else ""
    return {
        "type": tile.type,
        "title": tile.title,
        "aside": aside(tile, content),
        "figure": tile.figure,
        "change": tile.change,
        "tone": tile.tone,
        "heading": tile.heading,
        "rows": tile.rows,
        "alt": tile.alt,
        "notes": tile.notes,
        "svg": svg,
    }


# --- Texts that emails and PDFs share


def aside(tile: TileContent, content: Content) -> str:
    """A tile's period and filters, if they differ from the report's."""
    differs: Sequence[str] = (
        tile.period if tile.period != content.period else "",
        tile.filters if tile.filters != content.filters else "",
    )
    return " · ".join(each for each in differs if each)


def local_text(instant: str, zone: ZoneInfo) -> str:
    local = datetime.fromisoformat(instant).astimezone(zone)
    return date_format(local, "j M Y, H:i")


def as_of_text(content: Content) -> str:
    return f"As of {local_text(content.as_of, ZoneInfo(content.zone))} ({content.zone})"


def freshness_text(content: Content) -> str:
    """The data's age: the oldest among the newest files of each table."""
    if not content.sources:
        return "no data loaded"
    oldest = min(each.file_time for each in content.sources)
    return f"data up to {local_text(oldest, ZoneInfo(content.zone))}"
