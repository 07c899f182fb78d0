"""Where people arrive: their tenant, or a choice of theirs."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from tenants.access import tenants_of
from tenants.models import User


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """To the only tenant; a choice between several; a word to those who have none."""
    assert isinstance(request.user, User)
    tenants = list(tenants_of(request.user))
    if len(tenants) == 1:
        return redirect("overview", tenant_id=tenants[0].id)
    if not tenants and request.user.is_staff:
        return redirect("admin:index")
    return render(request, "tenants/home.html", {"tenants": tenants})
