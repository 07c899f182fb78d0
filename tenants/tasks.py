"""Celery tasks."""

from celery import shared_task

from common.messages import EXPIRES
from tenants import alerting


@shared_task(expires=EXPIRES)
def tell_alerts() -> int:
    return alerting.send_pending()
