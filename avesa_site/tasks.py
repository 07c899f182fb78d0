"""The canary: a task that does nothing but show that workers do what they are told."""

from celery import shared_task

from .models import Heartbeat


@shared_task(expires=120)
def canary() -> None:
    Heartbeat.note("worker")
