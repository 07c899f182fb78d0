"""Celery tasks. A message may arrive twice or never; the database rows decide."""

from celery import shared_task
from django.utils import timezone

from analytics.downloads import jobs
from common.messages import EXPIRES


@shared_task
def run_download(download_id: int) -> str:
    return jobs.run(download_id)


@shared_task
def mail_download(download_id: int) -> bool:
    return jobs.mail(download_id)


@shared_task(expires=EXPIRES)
def sweep_downloads() -> int:
    """Wake workers for what waits, was lost or lacks its mail; returns how many messages."""
    now = timezone.now()
    to_run = list(jobs.to_run(now).values_list("pk", flat=True))
    to_mail = list(jobs.to_mail(now).values_list("pk", flat=True))
    for key in to_run:
        run_download.delay(key)
    for key in to_mail:
        mail_download.delay(key)
    return len(to_run) + len(to_mail)


@shared_task(expires=EXPIRES)
def purge_downloads() -> int:
    return jobs.purge(timezone.now())
