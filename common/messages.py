"""Messages that wake workers. A lost message only costs time: the sweeps send it again.

Tasks are sent by name, so that code that a task calls can send that task without importing it.
"""

import logging

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

log = logging.getLogger(__name__)

# Seconds after which a message is dropped that no one took: sweeps send it again. Long enough for
# hosts whose clocks differ by minutes, since it is beat's that decides when they are over.
EXPIRES = 600


def send_after_commit(task_name: str, *arguments: object, expires: float | None = None) -> None:
    """`expires` in seconds. Pass it here: it cannot be looked up from the task's name."""

    def send() -> None:
        try:
            current_app.send_task(task_name, arguments, expires=expires)
        except (OperationalError, OSError) as error:
            log.warning("%s was not sent; a sweep will send it again: %s", task_name, error)

    transaction.on_commit(send)
