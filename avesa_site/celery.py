"""The Celery application; workers and beat start with `-A avesa_site`."""

import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, worker_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "avesa_site.settings")

app = Celery("avesa")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_init.connect
@beat_init.connect
def stop_if_misconfigured(**kwargs: Any) -> None:
    """Run Django's system checks, which Celery does not. A signal may only stop by SystemExit."""
    from django.core.management import call_command
    from django.core.management.base import SystemCheckError

    try:
        call_command("check")
    except SystemCheckError as error:
        raise SystemExit(str(error)) from error
