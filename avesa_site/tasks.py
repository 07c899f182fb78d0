"""The canary: a task that does nothing but show that workers do what they are told."""

from celery import shared_task

from .clocks import EXPIRES
from .models import Heartbeat


@shared_task(expires=EXPIRES)
def canary() -> None:
    Heartbeat.note("worker")
