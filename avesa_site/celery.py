"""The Celery application; workers and beat start with `-A avesa_site`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "avesa_site.settings")

app = Celery("avesa")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
