"""Waking workers up. A message that is lost costs time only: the sweeps send it again.

Tasks are sent by name, so that what a task calls can ask for that task.
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
    """`expires` in seconds. It must be given here: a name does not tell what its task declares."""

    def send() -> None:
        try:
            current_app.send_task(task_name, arguments, expires=expires)
        except (OperationalError, OSError) as error:
            log.warning("%s was not sent, the sweep sends it again: %s", task_name, error)

    transaction.on_commit(send)
