"""The canary: a task that does nothing but show that workers do what they are told."""

from celery import shared_task

from common.messages import EXPIRES
from common.models import Heartbeat


@shared_task(expires=EXPIRES)
def canary() -> None:
    Heartbeat.note("worker")
