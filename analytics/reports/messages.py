"""Celery messages that start work on reports."""

from analytics.reports.models import Occurrence
from common.messages import send_after_commit


def compose_soon(occurrence: Occurrence) -> None:
    send_after_commit("analytics.reports.tasks.run_occurrence", occurrence.pk)


def send_soon(delivery_id: int) -> None:
    send_after_commit("analytics.reports.tasks.send_delivery", delivery_id)
