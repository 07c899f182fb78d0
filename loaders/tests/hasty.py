"""The Celery application in a hurry, for the fault test: `celery -A loaders.tests.hasty worker`.

What waits for minutes waits for a second, and every message is sent twice.
"""

from datetime import timedelta

import django

from avesa_site.celery import app

django.setup()

# They need the applications.
from loaders import tasks  # noqa: E402
from loaders.jobs import queue  # noqa: E402
from loaders.pipelines import runs, schedule  # noqa: E402

SECOND = timedelta(seconds=1)
PERIOD = 5 * SECOND
SWEEPS = ("sweep load jobs", "sweep pipelines", "tell alerts")

queue.FIRST_RETRY = runs.FIRST_RETRY = SECOND / 2
runs.LOOK_AGAIN = SECOND
schedule.period_of = lambda tenant: PERIOD


def _twice(send):
    def send_twice(*arguments):
        send(*arguments)
        return send(*arguments)

    return send_twice


for task in (tasks.run_next_load, tasks.advance_pipeline, tasks.tidy_table):
    task.delay = _twice(task.delay)

for name in SWEEPS:
    app.conf.beat_schedule[name]["schedule"] = 1.0
