from django.apps import AppConfig


class ReportsConfig(AppConfig):
    name = "analytics.reports"
    label = "reports"

    def ready(self) -> None:
        from tenants.signals import data_arrived

        from . import bounces, occurrences  # noqa: F401 (bounces listens to django-anymail)

        data_arrived.connect(occurrences.data_arrived)
