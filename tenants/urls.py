from django.urls import include, path

from tenants.views import home

urlpatterns = [
    path("", home, name="home"),
    path("", include("tenants.accounts.urls")),
]
