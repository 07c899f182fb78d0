"""Celery tasks. A message may arrive twice or never; the database rows decide."""

from celery import shared_task
from django.utils import timezone

from analytics.reports import after_delivery, deliveries, occurrences
from common.messages import EXPIRES


@shared_task
def run_occurrence(occurrence_id: int) -> str:
    return occurrences.run(occurrence_id)


@shared_task
def send_delivery(delivery_id: int) -> str:
    return deliveries.send(delivery_id)


@shared_task(expires=EXPIRES)
def sweep_reports() -> int:
    """Plan due reports, recover abandoned work, notify workers; return how many messages."""
    now = timezone.now()
    occurrences.plan(now)
    deliveries.recover(now)
    after_delivery.finish_abandoned()
    to_run = list(occurrences.to_run(now).values_list("pk", flat=True))
    to_send = list(deliveries.to_send(now).values_list("pk", flat=True))
    for key in to_run:
        run_occurrence.delay(key)
    for key in to_send:
        send_delivery.delay(key)
    return len(to_run) + len(to_send)
