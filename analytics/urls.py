from django.urls import path

from analytics.downloads import views as downloads
from analytics.reports import public_views, views
from analytics.views import (
    assets,
    dashboards,
    figure_files,
    figures,
    filters,
    happened,
    records,
    subjects,
    why,
)

urlpatterns = [
    path("t/<slug:tenant_id>/", dashboards.dashboard, name="overview"),
    path("t/<slug:tenant_id>/board/<slug:slug>/", dashboards.dashboard, name="dashboard"),
    path("t/<slug:tenant_id>/board/<slug:slug>/happened/", happened.happened, name="happened"),
    path("t/<slug:tenant_id>/figures/", figures.catalog, name="figures"),
    path("t/<slug:tenant_id>/figures/<slug:name>/", figures.figure, name="figure"),
    path("t/<slug:tenant_id>/figures/<slug:name>/why/", why.why, name="figure_why"),
    path(
        "t/<slug:tenant_id>/figures/<slug:name>.<slug:kind>",
        figure_files.figure_file,
        name="figure_file",
    ),
    path("t/<slug:tenant_id>/chart.<slug:kind>", figure_files.chart_file, name="chart_file"),
    path("t/<slug:tenant_id>/filters/", filters.filters, name="filters"),
    path("t/<slug:tenant_id>/explore/", records.records, name="explore"),
    path("t/<slug:tenant_id>/explore/<slug:table>/", records.records, name="records"),
    path(
        "t/<slug:tenant_id>/explore/<slug:table>.<slug:kind>", records.export, name="records_file"
    ),
    path(
        "t/<slug:tenant_id>/explore/<slug:table>/<record_key:address>/",
        records.record,
        name="record",
    ),
    path("t/<slug:tenant_id>/companies/<record_key:key>/", subjects.company, name="company"),
    path("t/<slug:tenant_id>/contacts/<record_key:key>/", subjects.contact, name="contact"),
    path("t/<slug:tenant_id>/people/<name:key>/", subjects.person, name="person"),
    path(
        "t/<slug:tenant_id>/service-boards/<name:key>/",
        subjects.service_board,
        name="service_board",
    ),
    path("t/<slug:tenant_id>/downloads/", downloads.downloads, name="downloads"),
    path(
        "t/<slug:tenant_id>/downloads/new/<slug:table>.<slug:kind>",
        downloads.order,
        name="download_order",
    ),
    path("t/<slug:tenant_id>/downloads/<int:key>/file", downloads.file, name="download_file"),
    path(
        "t/<slug:tenant_id>/downloads/<int:key>/cancel/", downloads.cancel, name="download_cancel"
    ),
    path("t/<slug:tenant_id>/reports/", views.reports, name="reports"),
    path("t/<slug:tenant_id>/reports/new/", views.compose_report, name="report_new"),
    path("t/<slug:tenant_id>/reports/preview/", views.preview, name="report_preview_new"),
    path("t/<slug:tenant_id>/reports/deliveries/", views.ledger, name="ledger"),
    path("t/<slug:tenant_id>/reports/<int:key>/", views.report, name="report"),
    path("t/<slug:tenant_id>/reports/<int:key>/edit/", views.compose_report, name="report_edit"),
    path("t/<slug:tenant_id>/reports/<int:key>/preview/", views.preview, name="report_preview"),
    path("t/<slug:tenant_id>/reports/<int:key>/<slug:action>/", views.act, name="report_act"),
    path(
        "t/<slug:tenant_id>/reports/<int:report_key>/of/<int:key>/",
        views.occurrence,
        name="occurrence",
    ),
    path(
        "t/<slug:tenant_id>/reports/<int:report_key>/of/<int:key>/report.<slug:kind>",
        views.occurrence_file,
        name="occurrence_file",
    ),
    path(
        "t/<slug:tenant_id>/reports/<int:report_key>/of/<int:key>/why/<int:number>/<slug:name>/",
        views.figure_why,
        name="occurrence_why",
    ),
    path(
        "t/<slug:tenant_id>/reports/<int:report_key>/of/<int:key>/<slug:action>/",
        views.act_on_occurrence,
        name="occurrence_act",
    ),
    path("r/<str:token>/", public_views.public_report, name="public_report"),
    path(
        "r/<str:token>/report.<slug:kind>",
        public_views.public_report_file,
        name="public_report_file",
    ),
    path("r/<str:token>/unsubscribe/", public_views.unsubscribe, name="unsubscribe"),
    path("r/<str:token>/preferences/", public_views.preferences, name="preferences"),
    path("assets/vega-<str:version>.js", assets.vega_script, name="vega_script"),
]
