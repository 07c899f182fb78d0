"""Celery's entry point."""

from celery import shared_task

from avesa_site.clocks import EXPIRES

from . import alerts


@shared_task(expires=EXPIRES)
def tell_alerts() -> int:
    return alerts.tell_untold()
