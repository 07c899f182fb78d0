"""The start page: the user's tenant, or a choice of tenants."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from tenants.access import tenants_of
from tenants.models import User


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Redirect to the only tenant, list several, or explain that there is none."""
    assert isinstance(request.user, User)
    tenants = list(tenants_of(request.user))
    if len(tenants) == 1:
        return redirect("overview", tenant_id=tenants[0].id)
    if not tenants and request.user.is_staff:
        return redirect("admin:index")
    return render(request, "tenants/home.html", {"tenants": tenants})
