"""The Celery application; workers and beat start with `-A avesa_site`."""

import os
import threading
import time
from contextlib import suppress
from typing import Any

from celery import Celery
from celery.signals import beat_init, worker_init, worker_ready
from kombu.exceptions import OperationalError
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "avesa_site.settings")
TRANSPORT_ALIASES["filesystem"] = "avesa_site.broker:Transport"

app = Celery("avesa")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_init.connect
@beat_init.connect
def stop_if_misconfigured(**kwargs: Any) -> None:
    """Run Django's system checks, since Celery does not. Only SystemExit stops it from a signal."""
    from django.core.management import call_command
    from django.core.management.base import SystemCheckError

    try:
        call_command("check")
    except SystemCheckError as error:
        raise SystemExit(str(error)) from error


@worker_ready.connect
def watch_beat(**kwargs: Any) -> None:
    """Monitor beat from a thread, since without beat there are no scheduled tasks.

    Beat sends a canary each minute. A worker that starts also sends one, so that its heartbeat is
    written at once.
    """
    from avesa_site.tasks import canary

    threading.Thread(target=_keep_watching, name="watch-beat", daemon=True).start()
    with suppress(
        OperationalError, OSError
    ):  # the broker went down again; beat's canary will follow
        canary.delay()


def _keep_watching() -> None:
    from django.db import Error, connections

    from avesa_site.health import watch
    from common.models import MAX_SIGNAL_AGE

    while True:
        time.sleep(MAX_SIGNAL_AGE)
        try:
            watch("beat")
        except Error:  # every other part notices this as well
            pass
        finally:
            connections.close_all()
