"""Why a figure changed: the records behind the difference between two moments."""

from datetime import timedelta
from typing import Any

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone

from analytics.dashboards.scope import Moments, Scope
from analytics.metrics import METRICS, freshness_of
from analytics.metrics.differences import differences
from analytics.metrics.names import company_names
from analytics.periods import PeriodError, known_as_of
from analytics.views.common import limited, page_context, tenant_page
from analytics.warehouse.catalog import COMPANIES
from tenants.models import Tenant


@tenant_page
@limited("figures")
def why(request: HttpRequest, tenant: Tenant, name: str) -> HttpResponseBase:
    if name not in METRICS:
        raise Http404
    context = page_context(request, tenant, "figures") | {"metric": METRICS[name]}
    try:
        comparison = Moments.of_query(tenant, request.GET)
    except PeriodError as problem:
        kept = {
            name: values
            for name, values in request.GET.lists()
            if name not in ("before", "as_of", "loaded_by")
        }
        yesterday = timezone.localdate() - timedelta(days=1)
        context |= {"problem": problem, "yesterday": yesterday, "kept": kept}
        return render(request, "analytics/why.html", context, status=400)
    context |= difference_context(comparison, name)
    return render(request, "analytics/why.html", context)


def difference_context(comparison: Moments, name: str) -> dict[str, Any]:
    """What the page shows of a comparison. Raises WarehouseError."""
    tenant = comparison.tenant
    found = differences(
        tenant, name, comparison.period, comparison.before, comparison.after, comparison.filters
    )
    names = {}
    if any(each.dimension == "company" for each in found.filters):
        as_of = known_as_of(tenant.zone, comparison.after.as_of)
        names = company_names(tenant, as_of, freshness_of(tenant, [COMPANIES.name]))
    # The figure page knows days, not instants: the link leads to the figure of today.
    scope = Scope(tenant, comparison.period, "", None, comparison.filters)
    return {"found": found, "metric": found.metric, "company_names": names, "scope": scope}
