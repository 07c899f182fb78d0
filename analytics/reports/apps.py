from django.apps import AppConfig


class ReportsConfig(AppConfig):
    name = "analytics.reports"
    label = "reports"

    def ready(self) -> None:
        from analytics.reports import bounces, occurrences  # noqa: F401 (bounces listens to django-anymail)
        from tenants.signals import data_arrived

        data_arrived.connect(occurrences.data_arrived)
