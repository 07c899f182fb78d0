"""The two summaries that the specification's API routes return."""

from datetime import datetime
from pathlib import Path
from typing import Any

from django.utils import timezone

from analytics.periods import Period
from analytics.warehouse.tenant_reader import TenantReader
from tenants.models import Tenant


def company_analytics(
    tenant: Tenant, period: Period, as_of: datetime | None = None
) -> dict[str, Any]:
    """total_companies, active_companies, avg_employees, total_revenue.

    Companies that existed at any time in the period. Each counts once, with its last version in
    the period. Average employees is the mean over the companies whose number is
    known, rounded half up to 2 decimals; total revenue is the exact sum.
    """
    return _rows("company_analytics", tenant, period, as_of)[0]


def ticket_trends(
    tenant: Tenant, period: Period, as_of: datetime | None = None
) -> list[dict[str, Any]]:
    """One row per local day: date, ticket_count, closed_count, avg_hours.

    Tickets created on that day, tickets closed on it, and the mean of the actual hours of those
    closed whose hours are known, rounded half up to 2 decimals; None on a day without any. Each
    ticket counts with its latest known version.
    """
    return _rows("ticket_trends", tenant, period, as_of)


def _rows(
    name: str, tenant: Tenant, period: Period, as_of: datetime | None
) -> list[dict[str, Any]]:
    if as_of is not None:
        period = period.up_to(as_of)
    bound = {
        "as_of": as_of or max(timezone.now(), period.ends_at),
        "starts_at": period.starts_at,
        "ends_at": period.ends_at,
        "first_day": period.start,
        "end_day": period.end,
        "zone": period.zone.key,
    }
    sql = (Path(__file__).parent / f"{name}.sql").read_text()
    return TenantReader(tenant).select(sql, bound).dicts()
