"""Celery's entry point."""

from celery import shared_task

from . import alerts


@shared_task(expires=600)
def tell_alerts() -> int:
    return alerts.tell_untold()
