"""Dimensions: what figures can be filtered by and broken down by.

A dimension has the same name and meaning in every source that has it; `sources.py` defines the
expression that computes its value there. Values are texts; "" stands for records without one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

NOT_GIVEN = "~"  # how an address writes the value "", since an empty parameter means no filter


@dataclass(frozen=True)
class Dimension:
    """`labels` are the values that it can have and their names, in order; {} if they are open."""

    name: str
    title: str
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def is_ordered(self) -> bool:
        return bool(self.labels)


AGES = ("Under 1 day", "1 to 7 days", "7 to 30 days", "30 to 90 days", "90 days and more")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_ALL = (
    Dimension("company", "Company"),
    Dimension("contact", "Contact"),
    Dimension("board", "Board"),
    Dimension("priority", "Priority"),
    Dimension("severity", "Severity"),
    Dimension("impact", "Impact"),
    Dimension("urgency", "Urgency"),
    Dimension("status", "Status"),
    Dimension("category", "Category"),
    Dimension("type", "Type"),
    Dimension("subtype", "Subtype"),
    Dimension("item", "Item"),
    Dimension("team", "Team"),
    Dimension("technician", "Technician"),
    Dimension("age", "Age", tuple((age, age) for age in AGES)),
    Dimension("work_type", "Work type"),
    Dimension("work_role", "Work role"),
    Dimension("agreement", "Agreement"),
    Dimension("billable", "Billing option"),
    Dimension("charged_to", "Charged to"),
    Dimension("segment", "Segment"),
    Dimension("industry", "Industry"),
    Dimension("size", "Size"),
    Dimension("territory", "Territory"),
    Dimension("country", "Country"),
    Dimension("department", "Department"),
    Dimension("weekday", "Weekday", tuple((f"{n}", day) for n, day in enumerate(_DAYS, 1))),
    Dimension("hour", "Hour", tuple((f"{hour}", f"{hour:02d}:00") for hour in range(24))),
)
DIMENSIONS: dict[str, Dimension] = {dimension.name: dimension for dimension in _ALL}


def value_label(dimension: str, value: str, company_names: Mapping[str, str]) -> str:
    """A value in words for people."""
    if not value:
        return "not given"
    if dimension == "company":
        return company_names.get(value, value)
    return dict(DIMENSIONS[dimension].labels).get(value, value)


# --- Filters

EXCLUDED = "!"  # ends the name of a filter that excludes its values
Filters = Mapping[str, str | Iterable[str]]


@dataclass(frozen=True)
class Filter:
    """Only records with one of these values of a dimension, or with none of them."""

    dimension: str
    values: tuple[str, ...]
    is_excluding: bool = False

    @property
    def name(self) -> str:
        """Its name in an address or in JSON, such as `priority`, or `priority!` if it excludes."""
        return f"{self.dimension}{EXCLUDED if self.is_excluding else ''}"


def parse_filters(filters: Filters) -> tuple[Filter, ...]:
    """From {name: value or values}, as in addresses and stored reports, in order of their names.

    Empty values are no filter. Raises KeyError for an unknown dimension.
    """
    found = []
    for name, value in sorted(filters.items()):
        dimension = name.removesuffix(EXCLUDED)
        if dimension not in DIMENSIONS:
            raise KeyError(dimension)
        written = [value] if isinstance(value, str) else list(value)
        values = tuple(sorted({read_value(each) for each in written if each}))
        if values:
            found.append(Filter(dimension, values, name.endswith(EXCLUDED)))
    return tuple(found)


def write_value(value: str) -> str:
    """A dimension's value as written in an address: never empty."""
    return f"{NOT_GIVEN}{value}" if not value or value.startswith(NOT_GIVEN) else value


def read_value(written: str) -> str:
    return written.removeprefix(NOT_GIVEN)
