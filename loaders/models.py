"""Pipeline runs, load jobs and the files they took: the truth, whatever the broker sends."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from analytics.warehouse.catalog import TABLES
from common.leases import Leased
from common.retries import RetryPolicy
from tenants.models import Tenant, User

# Below this much progress nothing can be said about the rest.
MIN_PERCENT = 5


def _count(help_text: str) -> "models.BigIntegerField[Any, Any]":
    return models.BigIntegerField(default=0, help_text=help_text)


class Work(Leased):
    """What is asked for, waits for a worker, and ends in some way."""

    class State(models.TextChoices):
        QUEUED = "queued", "Queued"
        RUNNING = "running", "Running"
        SUCCEEDED = "succeeded", "Succeeded"
        FAILED = "failed", "Failed"
        CANCELED = "canceled", "Canceled"

    ACTIVE = (State.QUEUED, State.RUNNING)

    requested_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    requested_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    state = models.CharField(max_length=16, choices=State, default=State.QUEUED)
    error = models.TextField(blank=True)

    class Meta:
        abstract = True
        ordering = ["-requested_at", "-id"]

    @classmethod
    def lease(cls) -> timedelta:
        return timedelta(seconds=settings.LOAD_HEARTBEAT_TIMEOUT)

    @property
    def is_active(self) -> bool:
        return self.state in self.ACTIVE

    @property
    def duration(self) -> timedelta | None:
        """How long it ran, or has been running; of a load: since it was last claimed."""
        if self.started_at is None:
            return None
        return (self.finished_at or timezone.now()) - self.started_at


class PipelineRun(Work):
    """One turn of a tenant's pipeline: from the schema's check over its loads to its readers."""

    class Kind(models.TextChoices):
        INCREMENTAL = "incremental", "Incremental"
        REFRESH = "refresh", "Full refresh"

    class Trigger(models.TextChoices):
        SCHEDULE = "schedule", "Schedule"
        PERSON = "person", "Staff"
        COMMAND = "command", "Command"

    class Step(models.TextChoices):
        SCHEMA = "schema", "Check the schema"
        LOOK = "look", "Look for files"
        LOAD = "load", "Load"
        INTEGRITY = "integrity", "Check integrity"
        TELL = "tell", "Tell readers"

    # Of one step.
    RETRY = RetryPolicy(first=timedelta(seconds=15), longest=timedelta(minutes=5), attempts=5)

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="pipeline_runs")
    kind = models.CharField(max_length=16, choices=Kind, default=Kind.INCREMENTAL)
    trigger = models.CharField(max_length=16, choices=Trigger)
    dry_run = models.BooleanField(
        "test mode", default=False, help_text="Goes through every step and writes nothing."
    )
    planned_for = models.DateTimeField(
        null=True, blank=True, help_text="When the schedule wanted it."
    )
    woken_at = models.DateTimeField(
        null=True, blank=True, help_text="When a worker was last woken for it."
    )
    step = models.CharField(max_length=16, choices=Step, default=Step.SCHEMA)
    steps = models.JSONField(
        default=dict, blank=True, help_text="When each step began and ended, and its message."
    )
    rows_loaded = models.BigIntegerField(default=0)
    rows_rejected = models.BigIntegerField(default=0)
    faults = models.PositiveIntegerField(default=0, help_text="Tables that are not sound.")

    class Meta(Work.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["tenant"],
                condition=Q(state__in=["queued", "running"]),
                name="one_active_run_per_tenant",
            ),
            models.UniqueConstraint(
                fields=["tenant", "kind", "planned_for"], name="one_run_per_planned_time"
            ),
        ]
        permissions = [("run_pipelinerun", "Can start and cancel pipeline runs")]
        indexes = [
            models.Index(fields=["state", "try_at"], name="pipeline_sweep"),
            models.Index(fields=["planned_for"], name="pipeline_planned"),
            models.Index(fields=["finished_at"], name="pipeline_finished"),
        ]

    def __str__(self) -> str:
        test = " (test)" if self.dry_run else ""
        return f"{self.get_kind_display()} run {self.pk}{test}: {self.tenant_id}"


class LoadJob(Work):
    """One load of one tenant and table."""

    class Kind(models.TextChoices):
        INCREMENTAL = "incremental", "Incremental"
        REFRESH = "refresh", "Full refresh"
        REPAIR = "repair", "Repair"
        BULK = "bulk", "Bulk"

    class Vanished(models.TextChoices):
        """What a full refresh does with keys that are in no file any more."""

        CLOSE_IF_FEW = "close_if_few", "Close them, if they are few"
        CLOSE = "close", "Close them all"
        IGNORE = "ignore", "Leave them open"

    RETRY = RetryPolicy(
        first=timedelta(seconds=30), factor=4, longest=timedelta(minutes=10), attempts=3
    )
    # Percent of the current keys: as many as this are no longer few.
    VANISHED_LIMIT = 10
    # The counts of which one at least is above zero if readers see something new.
    CHANGES = ("rows_new", "rows_changed", "rows_late", "keys_closed", "keys_reopened")

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="load_jobs")
    table = models.CharField(max_length=64, choices=[(name, name) for name in TABLES])
    kind = models.CharField(max_length=16, choices=Kind, default=Kind.INCREMENTAL)
    vanished = models.CharField(
        max_length=16,
        choices=Vanished,
        default=Vanished.CLOSE_IF_FEW,
        help_text="What a full refresh does with keys that are in no file any more.",
    )
    vanished_limit = models.PositiveSmallIntegerField(
        default=VANISHED_LIMIT,
        validators=[MaxValueValidator(100)],
        help_text="Percent of the current keys: as many as this are no longer few.",
    )
    dry_run = models.BooleanField(default=False, help_text="Only find out what it would do.")
    pipeline = models.ForeignKey(
        PipelineRun, on_delete=models.SET_NULL, null=True, blank=True, related_name="jobs"
    )
    publishing_began_at = models.DateTimeField(
        null=True, blank=True, help_text="From then on readers may see its rows."
    )
    step = models.CharField(max_length=200, blank=True, help_text="What it is doing now.")
    files_found = _count("Files to read.")
    bytes_found = _count("Their size.")
    bytes_done = _count("Of which so much was read.")
    percent = models.PositiveSmallIntegerField(default=0, help_text="How far it is, about.")
    listing = models.CharField(
        max_length=64, blank=True, help_text="A digest of what the lake held for it."
    )
    needs_person = models.BooleanField(
        default=False, help_text="It failed, and would fail again with the same files."
    )
    rows_read = models.BigIntegerField(default=0, validators=[MinValueValidator(0)])
    rows_loaded = models.BigIntegerField(default=0, validators=[MinValueValidator(0)])
    rows_rejected = models.BigIntegerField(default=0, validators=[MinValueValidator(0)])
    rows_new = _count("Versions of keys that were not known before.")
    rows_changed = _count("Versions that took effect after those known before.")
    rows_late = _count("Versions slotted in before one known already.")
    rows_unchanged = _count("Rows that hold what is known already.")
    rows_duplicate = _count("Rows that the files hold more than once.")
    keys_closed = _count("Keys that are gone from the files, closed by a full refresh.")
    keys_reopened = _count("Closed keys that came back with a full refresh.")
    closings = models.JSONField(
        default=list, blank=True, help_text="The instants at which a full refresh closed keys."
    )
    columns = models.JSONField(
        default=dict, blank=True, help_text="The files' columns and their types, by format."
    )
    notes = models.JSONField(default=list, blank=True, help_text="What staff should know of it.")
    unknown_columns = models.JSONField(
        default=list, blank=True, help_text="Columns in the files that the catalog does not know."
    )

    class Meta(Work.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "table"],
                condition=Q(state__in=["queued", "running"]),
                name="one_active_load_per_table",
            )
        ]
        permissions = [("run_loadjob", "Can start and cancel loads")]
        indexes = [models.Index(fields=["state", "claimed_at"], name="load_job_sweep")]

    def __str__(self) -> str:
        test = " (test)" if self.dry_run else ""
        return f"{self.get_kind_display()} load {self.pk}{test}: {self.tenant_id}/{self.table}"

    @property
    def time_left(self) -> timedelta | None:
        """How long it will still run if it goes on as it did; None while that is not clear."""
        if self.state != self.State.RUNNING or self.percent < MIN_PERCENT or not self.duration:
            return None
        return self.duration * (100 - self.percent) / self.percent


class LoadedFile(models.Model):
    """One version of one object in the lake, as one job took it."""

    class State(models.TextChoices):
        LOADED = "loaded", "Loaded"
        QUARANTINED = "quarantined", "Quarantined"
        REFUSED = "refused", "Refused"  # by the lake: the next load tries again

    job = models.ForeignKey(LoadJob, on_delete=models.CASCADE, related_name="files")
    bucket = models.CharField(max_length=63)
    key = models.CharField(max_length=1024)
    etag = models.CharField(max_length=80)
    size = models.BigIntegerField()
    last_modified = models.DateTimeField()
    state = models.CharField(max_length=16, choices=State, default=State.LOADED)
    rows_read = models.BigIntegerField(default=0)
    rows_rejected = models.BigIntegerField(default=0)
    rows_in_file = models.BigIntegerField(
        null=True, blank=True, help_text="Counted in the file itself, not in what was read of it."
    )
    error = models.TextField(blank=True)

    class Meta:
        ordering = ["job", "key"]
        constraints = [
            models.UniqueConstraint(fields=["job", "key"], name="one_row_per_file_of_a_job")
        ]

    def __str__(self) -> str:
        return self.key


class IntegrityCheck(models.Model):
    """What the last check of one tenant's table found."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="integrity_checks")
    table = models.CharField(max_length=64, choices=[(name, name) for name in TABLES])
    checked_at = models.DateTimeField()
    versions = models.BigIntegerField(default=0)
    keys = models.BigIntegerField(default=0)
    faults = models.JSONField(default=list, blank=True)
    notes = models.JSONField(default=list, blank=True, help_text="What the check put in order.")
    error = models.TextField(blank=True, help_text="Why it could not be checked.")

    class Meta:
        ordering = ["tenant", "table"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "table"], name="one_check_per_table")
        ]
        permissions = [("repair_history", "Can repair history")]

    def __str__(self) -> str:
        return f"{self.tenant_id}/{self.table}"

    @property
    def is_sound(self) -> bool:
        return not self.faults and not self.error
