from allauth.account.decorators import secure_admin_login
from django.conf import settings
from django.contrib import admin
from django.urls import URLResolver, include, path
from django.views.generic import RedirectView

from analytics.api import api
from analytics.views.staff import query_cache
from avesa_site.doctor.views import doctor


def anymail_urls() -> list[URLResolver]:
    """Webhook for bounces from mail providers. Without a secret it would be open, so it is off."""
    if not settings.ANYMAIL.get("WEBHOOK_SECRET"):
        return []
    return [path("anymail/", include("anymail.urls"))]


# One login page, with its limits, for the admin, too.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

urlpatterns = [
    path("admin/doctor/", admin.site.admin_view(doctor), name="doctor"),
    path("admin/query-cache/", admin.site.admin_view(query_cache), name="query_cache"),
    path("admin/password_change/", RedirectView.as_view(pattern_name="account_change_password")),
    path("admin/", admin.site.urls),
    path("health/", include("avesa_site.health")),
    path("api/", api.urls),
    *anymail_urls(),
    path("", include("tenants.urls")),
    path("", include("analytics.urls")),
]

handler429 = "tenants.accounts.throttling.too_many_requests"  # used by django-allauth
handler404 = "avesa_site.error_views.not_found"
handler500 = "avesa_site.error_views.server_error"
