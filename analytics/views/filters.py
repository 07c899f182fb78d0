"""The values that the filter panel offers, fetched when it is opened."""

from collections.abc import Sequence

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme

from analytics.dashboards.choices import Choice, choices
from analytics.dashboards.scope import Scope
from analytics.metrics import Freshness, freshness_of
from analytics.metrics.dimensions import write_value
from analytics.views.common import limited, page_context, scope_context, scope_of, tenant_page
from analytics.warehouse.catalog import TABLES
from tenants.models import Tenant


@tenant_page
@limited("listing")
def filters(request: HttpRequest, tenant: Tenant) -> HttpResponseBase:
    """The fields of the panel for the scope in the address: for a script, or as a page without one.

    `next` is the page that the form of the latter leads back to.
    """
    scope, problem = scope_of(request, tenant)
    freshness = freshness_of(tenant, TABLES)
    offered = _offered(tenant, scope, freshness)
    offered.pop(request.GET.get("without", ""), None)  # what the page is about is no filter of it
    context = {"scope": scope, "choices": offered}
    if request.headers.get("X-Requested-With") == "fetch":
        return render(request, "analytics/filter_fields.html", context)
    back = request.GET.get("next", "")
    # Only a page of this tenant, so that a link to this page cannot lead elsewhere.
    if not back.startswith(f"/t/{tenant.id}/") or not url_has_allowed_host_and_scheme(back, None):
        back = f"/t/{tenant.id}/"
    context |= page_context(request, tenant, "") | {"back": back}
    context = scope_context(scope, problem, freshness) | context
    return render(request, "analytics/filters.html", context)


def _offered(
    tenant: Tenant, scope: Scope, freshness: Sequence[Freshness]
) -> dict[str, list[Choice]]:
    """The choices of the panel. A filter with several values has none: it is kept or removed."""
    return {
        name: [(write_value(value), label) for value, label in offered]
        for name, offered in choices(tenant, freshness).items()
        if len(scope.filters.get(name, ())) < 2
    }
