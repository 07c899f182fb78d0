"""The page for staff that runs the connection checks."""

from django.contrib import admin
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from avesa_site.doctor.checks import examine
from tenants.models import Tenant


@require_safe
@never_cache
@permission_required("loaders.view_loadjob", raise_exception=True)
def doctor(request: HttpRequest) -> HttpResponse:
    """Messages may contain host names, so the page requires the permission to view loads."""
    context = {
        **admin.site.each_context(request),
        "title": "Connections",
        "findings": list(examine(Tenant.objects.filter(is_active=True))),
    }
    return TemplateResponse(request, "loaders/admin/doctor.html", context)
