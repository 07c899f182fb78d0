"""What all of a tenant's pages do first: who asks, for which tenant, in which time zone."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from analytics.dashboards.boards import DASHBOARDS
from analytics.dashboards.scope import Scope
from analytics.periods import OFFERED, PeriodError
from analytics.warehouse.catalog import TABLES
from analytics.warehouse.errors import WarehouseError
from tenants.access import access_tenant, access_tenant_as_admin, tenants_of
from tenants.models import Tenant, User

log = logging.getLogger(__name__)

P = ParamSpec("P")
FAILED = "These figures cannot be computed at the moment."


View = Callable[Concatenate[HttpRequest, Tenant, P], HttpResponseBase]


def tenant_page(view: View[P]) -> Callable[..., HttpResponseBase]:
    """The view gets the tenant of its address if the user is a member of it; else there is 404.

    A warehouse that does not answer gets a page that says so. Nothing stays behind in a browser
    that somebody logged out of. Downloads come this way, too.
    """
    return require_safe(_for_tenant(view, access_tenant))


def admin_page(view: View[P]) -> Callable[..., HttpResponseBase]:
    """The same for admins of the tenant, who may also post to it; other members get 403."""
    return _for_tenant(view, access_tenant_as_admin)


def admin_action(view: View[P]) -> Callable[..., HttpResponseBase]:
    """Something that an admin of the tenant does: only by POST."""
    return require_POST(admin_page(view))


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
            except WarehouseError:
                log.exception("the warehouse failed %s", request.path)
                context = page_context(request, tenant, "")
                return render(request, "analytics/unavailable.html", context, status=503)

    return login_required(never_cache(opened))


def page_context(request: HttpRequest, tenant: Tenant, place: str) -> dict[str, Any]:
    """What the frame around every page shows; `place` marks where in the navigation one is."""
    assert isinstance(request.user, User)
    return {
        "tenant": tenant,
        "tenants": tenants_of(request.user),
        "dashboards": DASHBOARDS.values(),
        "tables": TABLES,
        "place": place,
    }


def scope_of(request: HttpRequest, tenant: Tenant) -> tuple[Scope, PeriodError | None]:
    """The scope of the address, or the default one and what is wrong with the address."""
    try:
        return Scope.of_query(tenant, request.GET), None
    except PeriodError as problem:
        return Scope.default(tenant), problem


def scope_context(scope: Scope, problem: PeriodError | None) -> dict[str, Any]:
    return {
        "scope": scope,
        "period": scope.period,
        "as_of": scope.as_of,
        "presets": OFFERED,
        "problem": problem,
    }
