"""The page about a company, a technician, a board or a contact: its figures, records, history."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase

from analytics import links
from analytics.dashboards.boards import CUSTOMERS, PEOPLE, SERVICE
from analytics.dashboards.scope import Scope
from analytics.dashboards.subjects import BOARD, COMPANY, CONTACT, PERSON, Subject
from analytics.metrics import freshness_of
from analytics.records import names, relations
from analytics.records.history import RecordHistory, RecordNotFound, record_history
from analytics.views.common import limited, page_context, scope_context, scope_of, tenant_page
from analytics.views.dashboards import board_page
from analytics.warehouse.catalog import TABLES
from tenants.models import Tenant

MAX_VERSIONS = 3  # shown of a record's history; its own page has all
_DASHBOARDS = {COMPANY: CUSTOMERS, PERSON: PEOPLE, BOARD: SERVICE, CONTACT: CUSTOMERS}


@dataclass(frozen=True)
class _Found:
    """A subject's name and what its figures are filtered by; `key` is the id or name in records."""

    title: str
    key: str
    filters: dict[str, str]
    history: RecordHistory | None = None


def _view(subject: Subject) -> Callable[..., HttpResponseBase]:
    @tenant_page
    @limited("figures")
    def view(request: HttpRequest, tenant: Tenant, key: str) -> HttpResponseBase:
        return _page(request, tenant, subject, key)

    return view


company, person = _view(COMPANY), _view(PERSON)
service_board, contact = _view(BOARD), _view(CONTACT)


def _page(request: HttpRequest, tenant: Tenant, subject: Subject, key: str) -> HttpResponseBase:
    requested, problem = scope_of(request, tenant)
    if subject.record:
        found = _of_record(tenant, subject, key)
    else:
        found = _Found(key, key, {subject.dimension: key})
    lists = relations.belonging(tenant, subject.lists, found.key, requested.as_of)
    if found.history is None and not _has_records(tenant, subject, found, lists, requested.as_of):
        raise Http404
    scope = requested
    for dimension in found.filters:
        requested = requested.without(dimension)
    for dimension, value in found.filters.items():
        scope = scope.without(dimension).only(dimension, value)
    freshness = freshness_of(tenant, TABLES)
    context = page_context(request, tenant, _DASHBOARDS[subject].slug)
    context |= scope_context(requested, problem, freshness)
    # The filter panel must not offer to change what the page is about.
    context["scope_query"] = urlencode(requested.query | {"without": subject.dimension}, doseq=True)
    context |= {
        "subject": subject,
        "title": found.title,
        "facts": _facts(found),
        "history": found.history,
        "versions": found.history.versions[-MAX_VERSIONS:] if found.history else [],
        "lists": lists,
        "crumbs": [_dashboard_of(tenant, subject, requested)],
    }
    return board_page(request, subject.board, scope, freshness, context, "analytics/subject.html")


def _has_records(
    tenant: Tenant,
    subject: Subject,
    found: _Found,
    lists: Sequence[relations.Belonging],
    as_of: datetime | None,
) -> bool:
    """Whether a name is known, as of the date of the page or today."""
    if not any(each.count for each in lists) and as_of is not None:
        lists = relations.belonging(tenant, subject.lists, found.key)
    return any(each.count for each in lists)


def _of_record(tenant: Tenant, subject: Subject, address: str) -> _Found:
    """A company or contact by its id. Raises Http404."""
    assert subject.record
    try:
        history = record_history(tenant, subject.record.name, address)
    except RecordNotFound:
        raise Http404 from None
    values = history.latest.values
    title = names.title(subject.record, values)
    if subject is COMPANY:
        return _Found(title, history.key, {"company": history.key}, history)
    # Tickets have the name of their contact; of two people with one name, the company decides.
    filters = {"contact": title}
    if values.get("company_id"):
        filters["company"] = values["company_id"]
    return _Found(title, history.key, filters, history)


_FACTS = ("company_type", "status", "industry", "city", "title", "email", "phone_number", "website")


def _facts(found: _Found) -> list[str]:
    """What introduces a company or contact in one line."""
    values: dict[str, Any] = found.history.latest.values if found.history else {}
    return [values[name] for name in _FACTS if values.get(name)]


def _dashboard_of(tenant: Tenant, subject: Subject, scope: Scope) -> links.Crumb:
    board = _DASHBOARDS[subject]
    return links.Crumb(board.title, links.dashboard_url(tenant, board.slug, scope))
