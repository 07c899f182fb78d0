"""The site: settings, URLs, processes. `celery_app` is here so that tasks find it on any start."""

from avesa_site.celery import app as celery_app

__all__ = ["celery_app"]
