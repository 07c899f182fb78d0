"""The specification's two routes, and the history of a record."""

from datetime import date
from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.cache import never_cache
from ninja import Field, Router, Schema
from ninja.decorators import decorate_view
from ninja.params.functions import Path, Query

from analytics.api import summaries
from analytics.api.base import ERRORS, tenant_of
from analytics.api.records import RecordHistory, history_of
from analytics.periods import between, last_days
from analytics.warehouse.catalog import TABLES

MAX_TREND_DAYS = 366


class CompanyAnalytics(Schema):
    """Companies in a period. Money is a JSON number, exact to 2 decimals with up to 15 digits."""

    total_companies: int = Field(description="Companies that existed at any time in the period.")
    active_companies: int = Field(description="Companies marked active.")
    avg_employees: float | None = Field(description="Mean number of employees, where known.")
    total_revenue: float = Field(description="Total annual revenue.")


class TicketTrend(Schema):
    """One day in the tenant's time zone."""

    date: date
    ticket_count: int = Field(description="Tickets created on this day.")
    closed_count: int = Field(description="Tickets closed on this day.")
    avg_hours: float | None = Field(
        description="Mean actual hours of the tickets closed on this day."
    )


router = Router()


@router.get(
    "/companies/analytics/{tenant_id}",
    response={200: CompanyAnalytics, **ERRORS},
    summary="Companies in a period",
    tags=["companies"],
)
@decorate_view(never_cache)
def company_analytics(
    request: HttpRequest,
    tenant_id: str,
    startDate: str = Query(  # noqa: N803 (the specification's name)
        "", description="First day, such as 2026-03-01. Default: 30 days before the last day."
    ),
    endDate: str = Query(  # noqa: N803
        "", description="Last day, included. Default: today."
    ),
) -> dict[str, Any]:
    tenant = tenant_of(request, tenant_id)
    period = between(startDate, endDate, tenant.zone, timezone.now(), ("startDate", "endDate"))
    return summaries.company_analytics(tenant, period)


@router.get(
    "/tickets/trends/{tenant_id}",
    response={200: list[TicketTrend], **ERRORS},
    summary="Tickets opened and closed per day",
    tags=["tickets"],
)
@decorate_view(never_cache)
def ticket_trends(
    request: HttpRequest,
    tenant_id: str,
    period: int = Query(30, ge=1, le=MAX_TREND_DAYS, description="Number of days, ending today."),
) -> list[dict[str, Any]]:
    tenant = tenant_of(request, tenant_id)
    days = last_days(period, tenant.zone, timezone.now())
    return summaries.ticket_trends(tenant, days)


@router.get(
    "/{table}/{tenant_id}/{record_key:record_id}/history",
    response={200: RecordHistory, **ERRORS},
    summary="Every version of a record",
    tags=["history"],
)
@decorate_view(never_cache)
def history(
    request: HttpRequest,
    tenant_id: str,
    record_id: str,
    table: str = Path(..., enum=list(TABLES)),
) -> dict[str, Any]:
    return history_of(tenant_of(request, tenant_id), table, record_id)
