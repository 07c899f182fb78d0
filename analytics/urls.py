from django.urls import path

from .views import assets, dashboards, figures, letters, records, reports

urlpatterns = [
    path("t/<slug:tenant_id>/", dashboards.dashboard, name="overview"),
    path("t/<slug:tenant_id>/board/<slug:slug>/", dashboards.dashboard, name="dashboard"),
    path("t/<slug:tenant_id>/figures/", figures.catalogue, name="figures"),
    path("t/<slug:tenant_id>/figures/<slug:name>/", figures.figure, name="figure"),
    path("t/<slug:tenant_id>/figures/<slug:name>.<slug:kind>", figures.export, name="figure_file"),
    path("t/<slug:tenant_id>/explore/", records.records, name="explore"),
    path("t/<slug:tenant_id>/explore/<slug:table>/", records.records, name="records"),
    path(
        "t/<slug:tenant_id>/explore/<slug:table>.<slug:kind>", records.export, name="records_file"
    ),
    path("t/<slug:tenant_id>/explore/<slug:table>/<path:key>/", records.record, name="record"),
    path("t/<slug:tenant_id>/reports/", reports.reports, name="reports"),
    path("t/<slug:tenant_id>/reports/new/", reports.compose_report, name="report_new"),
    path("t/<slug:tenant_id>/reports/preview/", reports.preview, name="report_preview_new"),
    path("t/<slug:tenant_id>/reports/deliveries/", reports.ledger, name="ledger"),
    path("t/<slug:tenant_id>/reports/<int:key>/", reports.report, name="report"),
    path("t/<slug:tenant_id>/reports/<int:key>/edit/", reports.compose_report, name="report_edit"),
    path("t/<slug:tenant_id>/reports/<int:key>/preview/", reports.preview, name="report_preview"),
    path("t/<slug:tenant_id>/reports/<int:key>/<slug:action>/", reports.act, name="report_act"),
    path(
        "t/<slug:tenant_id>/reports/<int:report_key>/of/<int:key>/",
        reports.occurrence,
        name="occurrence",
    ),
    path(
        "t/<slug:tenant_id>/reports/<int:report_key>/of/<int:key>/report.<slug:kind>",
        reports.occurrence_file,
        name="occurrence_file",
    ),
    path(
        "t/<slug:tenant_id>/reports/<int:report_key>/of/<int:key>/<slug:action>/",
        reports.act_on_occurrence,
        name="occurrence_act",
    ),
    path("r/<str:token>/", letters.letter, name="letter"),
    path("r/<str:token>/report.<slug:kind>", letters.letter_file, name="letter_file"),
    path("r/<str:token>/unsubscribe/", letters.unsubscribe, name="unsubscribe"),
    path("r/<str:token>/preferences/", letters.preferences, name="preferences"),
    path("assets/vega-<str:version>.js", assets.vega_script, name="vega_script"),
]
