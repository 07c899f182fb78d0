"""Celery with short waits, for the fault tests: `celery -A loaders.tests.hasty worker`.

Waits of minutes take a second, and every message that wakes a worker is sent twice.
"""

from datetime import timedelta

import django

from avesa_site.celery import app

django.setup()

# These need the app registry.
from common.tests.queues import impatient  # noqa: E402
from loaders.models import LoadJob, PipelineRun  # noqa: E402
from loaders.pipelines import runs, schedule  # noqa: E402

SECOND = timedelta(seconds=1)
PERIOD = 5 * SECOND
SWEEPS = ("sweep load jobs", "sweep pipelines", "tell alerts")

for each in (LoadJob, PipelineRun):
    each.RETRY = impatient(each.RETRY, SECOND / 2)
runs.WAKE_AGAIN = SECOND
schedule.period_of = lambda tenant: PERIOD


WAKING = {f"loaders.tasks.{name}" for name in ("run_next_load", "advance_pipeline", "tidy_table")}
_send = app.send_task


def _send_twice(name, *arguments, **options):
    if name in WAKING:
        _send(name, *arguments, **options)
    return _send(name, *arguments, **options)


app.send_task = _send_twice

for name in SWEEPS:
    app.conf.beat_schedule[name]["schedule"] = 1.0
