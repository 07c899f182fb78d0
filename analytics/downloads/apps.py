from django.apps import AppConfig


class DownloadsConfig(AppConfig):
    name = "analytics.downloads"
    label = "downloads"
