"""What a downloaded file covers, in one line: tenant, days, filters, as-of and age of the data."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from django.utils import timezone
from django.utils.formats import date_format

from analytics.charts.spec import days_of
from analytics.metrics import (
    DIMENSIONS,
    Filter,
    Freshness,
    MetricResult,
    freshness_of,
    parse_filters,
    value_label,
)
from analytics.records.listing import OPERATORS, Listing
from analytics.views.common import names_of_filters
from common.texts import words
from tenants.models import Tenant

PRODUCT = "AVESA"


def figures_line(tenant: Tenant, result: MetricResult) -> str:
    """Such as: AVESA · Bluepeak · (days) · Priority: High · as of … · data up to …"""
    names = names_of_filters(tenant, result.filters, result.as_of, result.freshness)
    return _joined(
        PRODUCT,
        tenant.name,
        days_of(result.period),
        filters_text(result.filters, names),
        as_of_text(tenant, result.as_of),
        data_up_to(tenant, result.freshness),
    )


def records_line(tenant: Tenant, wanted: Listing) -> str:
    """The same for a list of records. Raises WarehouseError."""
    freshness = freshness_of(tenant, [wanted.table.name])
    counted = filters = ""
    if of := wanted.drill_down:
        counted = f"counted in {of.metric.title}, {days_of(of.period)}"
        found = [
            each for each in parse_filters(of.filters) if each.dimension in of.metric.dimensions
        ]
        filters = filters_text(found, names_of_filters(tenant, found, wanted.as_of))
    conditions = [
        f"{words(each.column.name)} {OPERATORS[each.operator]} {each.text}"
        for each in wanted.conditions
    ]
    return _joined(
        PRODUCT,
        tenant.name,
        counted,
        filters,
        f"search: {wanted.search}" if wanted.search else "",
        *conditions,
        as_of_text(tenant, wanted.as_of or timezone.now()),
        data_up_to(tenant, freshness),
    )


def filters_text(filters: Sequence[Filter], names: Mapping[str, str]) -> str:
    """Filters for people; `names` are those of companies, which are shown instead of their ids."""
    return _joined(
        *(
            f"{DIMENSIONS[each.dimension].title}{' is not' if each.is_excluding else ''}: "
            + ", ".join(
                value_label(each.dimension, value, names if each.dimension == "company" else {})
                for value in each.values
            )
            for each in filters
        )
    )


def as_of_text(tenant: Tenant, as_of: datetime) -> str:
    return f"as of {_local(tenant, as_of)} ({tenant.time_zone})"


def data_up_to(tenant: Tenant, freshness: Sequence[Freshness]) -> str:
    """The data's age: the oldest among the newest files of each table."""
    if not freshness:
        return "no data loaded"
    return f"data up to {_local(tenant, min(each.newest_file_time for each in freshness))}"


def _local(tenant: Tenant, instant: datetime) -> str:
    return date_format(instant.astimezone(tenant.zone), "j M Y, H:i")


def _joined(*texts: str) -> str:
    return " · ".join(filter(None, texts))
