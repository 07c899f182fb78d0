from django.contrib import admin
from django.urls import include, path

from analytics.api import api

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/", api.urls),
    path("", include("tenants.urls")),
    path("", include("analytics.urls")),
]
