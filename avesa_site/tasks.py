"""The canary: a task that only shows that workers run tasks."""

from celery import shared_task

from common.messages import EXPIRES
from common.models import Heartbeat


@shared_task(expires=EXPIRES)
def canary() -> None:
    Heartbeat.record("worker")
