"""Waking workers up. A message that is lost costs time only: the sweep sends it again."""

import logging
from collections.abc import Callable

from django.db import transaction
from kombu.exceptions import OperationalError

from analytics.reports.models import Occurrence

log = logging.getLogger(__name__)


def compose_soon(occurrence: Occurrence) -> None:
    from analytics.reports.tasks import run_occurrence  # the tasks call what calls this

    _after_commit(lambda: run_occurrence.delay(occurrence.pk))


def send_soon(delivery_id: int) -> None:
    from analytics.reports.tasks import send_delivery  # the tasks call what calls this

    _after_commit(lambda: send_delivery.delay(delivery_id))


def _after_commit(message: Callable[[], object]) -> None:
    def send() -> None:
        try:
            message()
        except (OperationalError, OSError) as error:
            log.warning("no worker could be told, the sweep will: %s", error)

    transaction.on_commit(send)
