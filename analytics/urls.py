from django.urls import path

from .views import overview, vega_script

urlpatterns = [
    path("t/<slug:tenant_id>/", overview, name="overview"),
    path("assets/vega-<str:version>.js", vega_script, name="vega_script"),
]
