"""The site: settings, URLs, processes. Importing `celery_app` here lets every process find it."""

from avesa_site.celery import app as celery_app

__all__ = ["celery_app"]
