"""Writes results as tables, to the terminal and to docs/performance.md."""

import os
import platform
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "performance.md"


@dataclass(frozen=True)
class Figure:
    what: str
    value: str


@dataclass(frozen=True)
class Section:
    """The results of one benchmark; `name` marks its place in the document."""

    name: str
    title: str
    figures: list[Figure] = field(default_factory=list)
    passed: bool = True

    def markdown(self):
        rows = "\n".join(f"| {figure.what} | {figure.value} |" for figure in self.figures)
        return f"{self.title}.\n\n| | |\n|---|---|\n{rows}\n\n{_machine()}"

    def text(self):
        width = max(len(figure.what) for figure in self.figures)
        lines = [f"  {figure.what:<{width}}  {figure.value}" for figure in self.figures]
        return "\n".join([self.title, *lines]).replace("*", "").replace("`", "")


def _machine():
    from analytics.warehouse.client import WarehouseClient

    engine = WarehouseClient().value("SELECT version()")
    return (
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {os.cpu_count()} cores ({platform.machine()}, "
        f"{platform.system()}), Python {platform.python_version()}, ClickHouse {engine} embedded."
    )


def record(section):
    """Print a section and write it between its markers in the document."""
    print(section.text(), flush=True)
    text = DOCUMENT.read_text()
    start, end = f"<!-- bench:{section.name} -->", f"<!-- /bench:{section.name} -->"
    pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"{DOCUMENT} has no markers for {section.name}")
    DOCUMENT.write_text(pattern.sub(lambda _: f"{start}\n{section.markdown()}\n{end}", text))
