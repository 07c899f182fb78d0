"""The Explore pages: the records of a table, and one record with its relations and history."""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import Http404, HttpRequest, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from analytics import links, periods
from analytics.dashboards.scope import Scope
from analytics.metrics import DIMENSIONS, METRICS, parse_filters
from analytics.periods import PeriodError
from analytics.records import listing, names, relations
from analytics.records.history import RecordNotFound, record_history
from analytics.templatetags import figures
from analytics.views.common import limited, names_of_filters, page_context, tenant_page
from analytics.views.downloads import bad_download, file_download
from analytics.views.source_lines import records_line
from analytics.warehouse.catalog import TABLES, TICKETS, TIME_ENTRIES, Column, Table
from analytics.warehouse.errors import WarehouseBusy, WarehouseError
from analytics.warehouse.exports import KINDS, ExportRefused
from common.spreadsheets import MAX_SHEET_ROWS
from common.texts import words
from tenants.models import Tenant

log = logging.getLogger(__name__)

VERDICTS = {"": None, "yes": True, "no": False}


@tenant_page
@limited("listing")
def records(request: HttpRequest, tenant: Tenant, table: str = "tickets") -> HttpResponseBase:
    shown = _table_of(table)
    context = page_context(request, tenant, "explore") | {
        "table": shown,
        "operators": listing.OPERATORS,
    }
    status = 200
    try:
        wanted = listing_of(request.GET, tenant, shown)
    except (listing.ListingError, PeriodError) as problem:
        context |= {"problem": problem}
        wanted, status = listing.listing(shown), 400
    try:
        context |= _page_context(tenant, wanted)
        if wanted.drill_down:
            known = context["company_names"]
            context["crumbs"] = _way_to_list(request, tenant, wanted.drill_down, known)
            verdict = request.GET.get("verdict", "")
            context["title"] = figures.verdict_words(wanted.drill_down.metric, verdict)
    except listing.ListingError as problem:
        context |= {"problem": problem, "wanted": listing.listing(shown)}
        status = 400
    except WarehouseBusy:
        raise
    except WarehouseError:
        log.exception("%s of %s cannot be listed", table, tenant.id)
        context |= {"error": "These records are not available right now.", "wanted": wanted}
        status = 503
    context["hidden"] = _hidden(request)
    return render(request, "analytics/explore.html", context, status=status)


@tenant_page
@limited("export")
def export(request: HttpRequest, tenant: Tenant, table: str, kind: str) -> HttpResponseBase:
    """A download of all records of a listing, not only one page; a page if there are too many."""
    if kind not in KINDS:
        raise Http404
    shown = _table_of(table)
    try:
        wanted = listing_of(request.GET, tenant, shown)
        found = listing.count(tenant, wanted)
    except (listing.ListingError, PeriodError) as problem:
        return bad_download(problem.field, problem.message)
    if refusal := sheet_refusal(kind, found):
        return bad_download("kind", refusal)
    if found > settings.DOWNLOAD_JOB_ROWS:
        context = page_context(request, tenant, "explore")
        context |= {"table": shown, "kind": kind, "count": found, "query": request.GET.urlencode()}
        return render(request, "analytics/large_download.html", context)
    try:
        file = listing.table_file(tenant, wanted, kind, records_line(tenant, wanted))
    except ExportRefused as refusal:
        return bad_download("kind", str(refusal))
    return file_download(file, f"{tenant.id}-{table}.{kind}")


@tenant_page
@limited("listing")
def record(request: HttpRequest, tenant: Tenant, table: str, address: str) -> HttpResponseBase:
    """A record with all its versions, newest first, and the records that belong to it."""
    shown = _table_of(table)
    context = page_context(request, tenant, "explore") | {"table": shown}
    status = 200
    try:
        context["history"] = found = record_history(tenant, table, address)
        context["title"] = names.title(shown, found.latest.values)
        context["above"] = relations.above(tenant, shown, found.latest.values)
        context["below"] = relations.below(tenant, shown, found.key)
        context["crumbs"] = _way_to_record(request, tenant, shown)
    except RecordNotFound:
        status = 404
    return render(request, "analytics/record.html", context, status=status)


def _way_to_record(request: HttpRequest, tenant: Tenant, table: Table) -> list[links.Crumb]:
    """The figure and the list that the record was opened from, whose parameters are in its address;
    else the list of all records.
    """
    url = reverse("records", args=[tenant.id, table.name])
    title = words(table.name)
    if not request.GET:
        return [links.Crumb(title, url)]
    try:
        found = _drill_down(request.GET, tenant)
        if found is None or table.name != found.metric.tables[0]:
            return [links.Crumb(title, f"{url}?{request.GET.urlencode()}")]
        known = names_of_filters(
            tenant,
            parse_filters(found.filters),
            periods.as_of_from_query(request.GET, tenant.zone, timezone.now()),
        )
        way = _way_to_list(request, tenant, found, known)
    except (listing.ListingError, PeriodError):  # a made-up address
        return [links.Crumb(title, url)]
    title = figures.verdict_words(found.metric, request.GET.get("verdict", ""))
    return [*way, links.Crumb(title, f"{url}?{request.GET.urlencode()}")]


def _way_to_list(
    request: HttpRequest,
    tenant: Tenant,
    drill_down: listing.DrillDown,
    company_names: Mapping[str, str],
) -> list[links.Crumb]:
    scope = Scope.of_query(tenant, request.GET)
    url = links.figure_url(drill_down.metric, scope)
    way = links.way_to_figure(drill_down.metric, scope, company_names)
    return [*way, links.Crumb(drill_down.metric.title, url)]


def sheet_refusal(kind: str, rows: int) -> str:
    """Why so many rows do not fit into a file of this kind, or ""."""
    if kind != "xlsx" or rows <= MAX_SHEET_ROWS:
        return ""
    return f"A spreadsheet can hold {MAX_SHEET_ROWS:,} rows, and this list has {rows:,}. Use CSV."


def _table_of(name: str) -> Table:
    if name not in TABLES:
        raise Http404
    return TABLES[name]


def listing_of(query: QueryDict, tenant: Tenant, table: Table) -> listing.Listing:
    """What an address lists. Raises ListingError, PeriodError."""
    return listing.listing(
        table,
        columns=query.getlist("columns"),
        sort=query.get("sort", ""),
        search=query.get("q", ""),
        where=[each for each in [*query.getlist("where"), _added(query)] if each],
        as_of=periods.as_of_from_query(query, tenant.zone, timezone.now()),
        drill_down=_drill_down(query, tenant),
        after=query.get("after", ""),
    )


def _added(query: QueryDict) -> str:
    """The condition in the form's three fields, in the format of `where`."""
    column, operator = query.get("column", ""), query.get("operator", "is")
    return f"{column}~{operator}~{query.get('value', '')}" if column else ""


def _drill_down(query: QueryDict, tenant: Tenant) -> listing.DrillDown | None:
    name = query.get("metric", "")
    if not name:
        return None
    if name not in METRICS:
        raise listing.ListingError("metric", "This figure does not exist.")
    scope = Scope.of_query(tenant, query)
    verdict = query.get("verdict", "")
    if verdict not in VERDICTS:
        raise listing.ListingError("verdict", "Use yes or no.")
    period = scope.period.up_to(scope.as_of) if scope.as_of else scope.period
    return listing.DrillDown(METRICS[name], period, scope.filters, VERDICTS[verdict])


def _page_context(tenant: Tenant, wanted: listing.Listing) -> dict[str, Any]:
    found = listing.page(tenant, wanted)
    requested = parse_filters(wanted.drill_down.filters) if wanted.drill_down else ()
    dimensions = wanted.drill_down.metric.dimensions if wanted.drill_down else ()
    filters = [each for each in requested if each.dimension in dimensions]
    return {
        "filters": filters,
        "ignored": [DIMENSIONS[each.dimension].title for each in requested if each not in filters],
        "company_names": names_of_filters(tenant, filters, wanted.as_of),
        "wanted": wanted,
        "page": found,
        "count": listing.count(tenant, wanted),
        "rows": [
            (row, [_cell(wanted, column, row) for column in wanted.columns]) for row in found.rows
        ],
        "titles": _titles_of_tickets(tenant, wanted, found.rows),
    }


def _titles_of_tickets(
    tenant: Tenant, wanted: listing.Listing, rows: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """The names of the tickets that time entries are for; those of a list of tickets are in it."""
    if wanted.table is not TIME_ENTRIES or all(c.name != "ticket_id" for c in wanted.columns):
        return {}
    keys = {row["ticket_id"] for row in rows if row["ticket_id"]}
    return names.titles_of(tenant, TICKETS, keys, wanted.as_of)


def _cell(wanted: listing.Listing, column: Column, row: Mapping[str, Any]) -> Any:
    """A value as pages show it: verdicts in words, durations as such."""
    content = row[column.name]
    if content is None or not wanted.drill_down or column not in wanted.drill_down.columns:
        return content
    if column.name == listing.VERDICT and wanted.drill_down.metric.verdict:
        met, missed = wanted.drill_down.metric.verdict
        return met if content else missed
    if wanted.drill_down.is_duration(column):
        return timedelta(milliseconds=content)
    return content


def _hidden(request: HttpRequest) -> dict[str, Any]:
    """The hidden fields with which each form of the page keeps the other parameters."""
    pairs = [
        (name, value)
        for name, values in request.GET.lists()
        for value in values
        if name not in ("after", "column", "operator", "value")
    ]
    added = _added(request.GET)
    if added:
        pairs.append(("where", added))
    return {
        "all": urlencode(pairs),
        "but_search": [pair for pair in pairs if pair[0] != "q"],
        "but_columns": [pair for pair in pairs if pair[0] != "columns"],
        "but_as_of": [pair for pair in pairs if pair[0] != "as_of"],
        "everything": pairs,
        "query": {name: [value for each, value in pairs if each == name] for name, _ in pairs},
    }
