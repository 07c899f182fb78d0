"""The site: settings, URLs, processes. `celery_app` is here so that tasks find it on any start."""

from .celery import app as celery_app

__all__ = ["celery_app"]
