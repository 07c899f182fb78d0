"""A large download: who asked for what, how far it is, and where its file is."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone

from common.leases import Leased
from common.retries import RetryPolicy
from common.texts import words
from tenants.models import Tenant


class Download(Leased):
    """A list of records as a file, made by a worker for one member of a tenant.

    `query` is the query string of the list. The mail about its end is handed over once: before the
    first byte goes to the mail server, `handed_over_at` is written, and never after that again.
    """

    LEASE = timedelta(minutes=2)  # its worker shows a sign of life every few seconds
    RETRY = RetryPolicy(first=timedelta(seconds=30), longest=timedelta(minutes=10), attempts=3)

    class State(models.TextChoices):
        QUEUED = "queued", "Waiting"
        RUNNING = "running", "In preparation"
        READY = "ready", "Ready"
        FAILED = "failed", "Failed"
        CANCELED = "canceled", "Canceled"

    OPEN = (State.QUEUED, State.RUNNING)
    ENDED = (State.READY, State.FAILED)

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    table = models.CharField(max_length=40)
    kind = models.CharField(max_length=8)
    query = models.TextField(blank=True)
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    rows = models.PositiveBigIntegerField(help_text="How many there were when it was asked for.")
    progress = models.PositiveBigIntegerField(default=0, help_text="Rows written so far.")
    note = models.TextField(blank=True, help_text="Why it failed.")
    file = models.CharField(max_length=200, blank=True, help_text="Its name in the storage.")
    size = models.PositiveBigIntegerField(default=0, help_text="Of the file, in bytes.")
    is_mail_due = models.BooleanField(default=False)
    handed_over_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-pk"]
        indexes = [models.Index(fields=["state", "try_at"])]

    def __str__(self) -> str:
        return f"{self.title} ({self.kind.upper()}) of {self.tenant_id}"

    @property
    def title(self) -> str:
        return words(self.table)

    @property
    def is_open(self) -> bool:
        return self.state in self.OPEN

    @property
    def expires_at(self) -> datetime:
        return (self.ended_at or self.created_at) + timedelta(days=settings.DOWNLOAD_DAYS)

    @property
    def is_available(self) -> bool:
        is_ready = self.state == self.State.READY and bool(self.file)
        return is_ready and self.expires_at > timezone.now()
