"""What every tenant page does first: check the user, load the tenant, set the time zone."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from analytics.dashboards.boards import DASHBOARDS
from analytics.dashboards.choices import FILTERS
from analytics.dashboards.scope import Scope
from analytics.metrics import Filter, Freshness, freshness_of, parse_filters
from analytics.metrics.names import company_names
from analytics.periods import PAGE_PRESETS, Comparison, PeriodError, known_as_of
from analytics.warehouse.catalog import COMPANIES, TABLES
from analytics.warehouse.errors import WarehouseBusy, WarehouseError
from common import limits
from common.limits import TooManyRequests
from tenants.access import access_tenant, access_tenant_as_admin, tenants_of
from tenants.models import Tenant, User

log = logging.getLogger(__name__)

P = ParamSpec("P")
FAILED = "These figures are not available right now."


View = Callable[Concatenate[HttpRequest, Tenant, P], HttpResponseBase]


def tenant_page(view: View[P]) -> Callable[..., HttpResponseBase]:
    """Pass the view the tenant in the address if the user is a member of it, else answer 404.

    If the warehouse does not respond, the user gets an error page. Browsers store nothing, so that
    nothing stays visible after a logout. This applies to downloads too.
    """
    return require_safe(_for_tenant(view, access_tenant))


def admin_page(view: View[P]) -> Callable[..., HttpResponseBase]:
    """The same for admins of the tenant, with POST allowed; other members get 403."""
    return _for_tenant(view, access_tenant_as_admin)


def admin_action(view: View[P]) -> Callable[..., HttpResponseBase]:
    """The same for actions of an admin: POST only."""
    return require_POST(admin_page(view))


def member_action(view: View[P]) -> Callable[..., HttpResponseBase]:
    """The same for actions of any member: POST only."""
    return require_POST(_for_tenant(view, access_tenant))


def limited(kind: str) -> Callable[[View[P]], Callable[..., HttpResponseBase]]:
    """Count the requests of a view, below its `tenant_page`, as expensive ones of `kind`.

    Beyond the limits of the user or the tenant (`common.limits`), the answer is 429.
    """

    def decorate(view: View[P]) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def counted(
            request: HttpRequest, tenant: Tenant, *args: P.args, **kwargs: P.kwargs
        ) -> HttpResponseBase:
            limits.take(request, kind, tenant.id, f"user-{request.user.pk}")
            return view(request, tenant, *args, **kwargs)

        return counted

    return decorate


def _for_tenant(
    view: View[P], access: Callable[[User, str], Tenant]
) -> Callable[..., HttpResponseBase]:

    @wraps(view)
    def opened(
        request: HttpRequest, tenant_id: str, *args: P.args, **kwargs: P.kwargs
    ) -> HttpResponseBase:
        assert isinstance(request.user, User)
        tenant = access(request.user, tenant_id)
        with timezone.override(tenant.zone):
            try:
                return view(request, tenant, *args, **kwargs)
            except TooManyRequests as error:
                return too_many_requests(request, error)
            except WarehouseBusy:
                return too_many_requests(request, TooManyRequests(limits.BUSY_SECONDS))
            except WarehouseError:
                log.exception("the warehouse failed on %s", request.path)
                context = page_context(request, tenant, "")
                return render(request, "analytics/unavailable.html", context, status=503)

    return login_required(never_cache(opened))


def too_many_requests(request: HttpRequest, error: TooManyRequests) -> HttpResponse:
    """A page that explains it, also where a file was requested."""
    context = {"seconds": error.retry_after, "is_form": request.method == "POST"}
    response = render(request, "analytics/too_many_requests.html", context, status=429)
    response["Retry-After"] = str(error.retry_after)
    return response


def page_context(request: HttpRequest, tenant: Tenant, place: str) -> dict[str, Any]:
    """What the frame of every page shows; `place` is the current entry of the navigation."""
    assert isinstance(request.user, User)
    return {
        "tenant": tenant,
        "tenants": tenants_of(request.user),
        "dashboards": DASHBOARDS.values(),
        "tables": TABLES,
        "place": place,
    }


def scope_of(request: HttpRequest, tenant: Tenant) -> tuple[Scope, PeriodError | None]:
    """The scope in the address; if that is invalid, the default scope and the error."""
    try:
        return Scope.of_query(tenant, request.GET), None
    except PeriodError as problem:
        return Scope.default(tenant), problem


def scope_context(
    scope: Scope, problem: PeriodError | None, freshness: Sequence[Freshness]
) -> dict[str, Any]:
    """What the period and the filters of a page show."""
    filters = parse_filters(scope.filters)
    in_panel = {name for name in FILTERS if len(scope.filters.get(name, ())) == 1}
    return {
        "filters": filters,
        "company_names": names_of_filters(scope.tenant, filters, scope.as_of, freshness),
        "choices": None,  # fetched when the panel is opened, since they take as long as a page
        "panel_filters": {name: scope.filters[name] for name in in_panel},
        "other_filters": {n: found for n, found in scope.filters.items() if n not in in_panel},
        "scope_query": urlencode(scope.query, doseq=True),
        "scope": scope,
        "period": scope.period,
        "as_of": scope.as_of,
        "presets": PAGE_PRESETS,
        "comparisons": list(Comparison),
        "problem": problem,
    }


def names_of_filters(
    tenant: Tenant,
    filters: Sequence[Filter],
    as_of: datetime | None,
    freshness: Sequence[Freshness] | None = None,
) -> dict[str, str]:
    """The names of companies, if there is a filter by company."""
    if not any(each.dimension == "company" for each in filters):
        return {}
    if freshness is None:
        freshness = freshness_of(tenant, [COMPANIES.name])
    return company_names(tenant, known_as_of(tenant.zone, as_of), freshness)
