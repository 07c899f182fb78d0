from django.apps import AppConfig


class ReportsConfig(AppConfig):
    name = "analytics.reports"
    label = "reports"

    def ready(self) -> None:
        from . import bounces  # noqa: F401 (it listens to django-anymail)
