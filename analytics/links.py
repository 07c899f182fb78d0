"""The addresses that lead from a figure to its parts, its records, and what they are about.

Every label, bar and point leads one step down, and never to a page without a name: value → the
figure of that value, broken down further → its records → the record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from analytics.dashboards.boards import DASHBOARDS, OVERVIEW
from analytics.dashboards.scope import Scope
from analytics.dashboards.subjects import SUBJECT_OF_DIMENSION
from analytics.metrics import Metric, MetricResult, Part
from analytics.metrics.dimensions import read_value
from analytics.periods import Period
from tenants.models import Tenant

MAX_CHARACTERS = 3000  # web servers refuse addresses of about 4,000


@dataclass(frozen=True)
class Crumb:
    """A step of the way to a page."""

    title: str
    url: str


def figure_url(metric: Metric, scope: Scope) -> str:
    return f"{reverse('figure', args=[scope.tenant.id, metric.name])}?{_written(scope.query)}"


def rows_url(metric: Metric, scope: Scope, verdict: str = "") -> str:
    """The list of the records that a figure counts: all, or those with a verdict, yes or no."""
    query = {**scope.query, "metric": metric.name} | ({"verdict": verdict} if verdict else {})
    return f"{reverse('records', args=[scope.tenant.id, metric.tables[0]])}?{_written(query)}"


def bucket_url(metric: Metric, scope: Scope, bucket: Period) -> str:
    """The figure of one bucket of a period, or its records if the period has only this one."""
    within = scope.within(bucket)
    if within.period.days == scope.period.days:
        return rows_url(metric, scope)
    return figure_url(metric, within)


def bucket_urls(results: Sequence[MetricResult], scope: Scope) -> list[list[str]]:
    """For each bucket, the addresses of each result's figure."""
    return [
        [bucket_url(each.metric, scope, bucket) for each in results]
        for bucket, _ in results[0].series
    ]


def part_scope(result: MetricResult, part: Part, scope: Scope) -> Scope:
    """The scope of what a part counts."""
    for dimension, value in zip(result.by, part.values, strict=True):
        scope = scope.only(dimension.name, value)
    return scope


def part_url(result: MetricResult, part: Part, scope: Scope) -> str:
    """The figure of a part alone; "" if that is too long for an address."""
    return short_enough(figure_url(result.metric, part_scope(result, part, scope)))


def short_enough(url: str) -> str:
    return url if len(url) <= MAX_CHARACTERS else ""


def subject_url(tenant: Tenant, dimension: str, value: str) -> str:
    """The page about a value of a dimension, such as a company or technician; "" if it has none."""
    subject = SUBJECT_OF_DIMENSION.get(dimension)
    if subject is None or not subject.can_be_about(value):
        return ""
    return reverse(subject.slug, args=[tenant.id, value])


def dashboard_url(tenant: Tenant, slug: str, scope: Scope | None = None) -> str:
    name, args = ("overview", []) if slug == OVERVIEW.slug else ("dashboard", [slug])
    query = f"?{_written(scope.query)}" if scope else ""
    return f"{reverse(name, args=[tenant.id, *args])}{query}"


def way_to_figure(metric: Metric, scope: Scope, names: Mapping[str, str]) -> list[Crumb]:
    """The page about the one company, technician or board of the scope, or else the first
    dashboard with the figure."""
    for dimension, values in scope.filters.items():
        [value, *more] = values
        value = read_value(value)
        # Records without the id of their company have its name, which has no page.
        has_page = not more and (dimension != "company" or value in names)
        url = subject_url(scope.tenant, dimension, value) if has_page else ""
        if url:
            period = _written(scope.without(dimension).query)
            return [Crumb(names.get(value, value), f"{url}?{period}")]
    for board in DASHBOARDS.values():
        if any(metric in tile.metrics for tile in board.tiles):
            return [Crumb(board.title, dashboard_url(scope.tenant, board.slug, scope))]
    return []


def _written(query: Mapping[str, Any]) -> str:
    return urlencode(query, doseq=True)
