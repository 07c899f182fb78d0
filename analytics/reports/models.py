"""Reports, when they are due, and what became of each of them."""

from datetime import datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from analytics.dashboards.boards import DASHBOARDS, OVERVIEW, TileType
from analytics.periods import PRESETS
from analytics.reports import timetable
from analytics.reports.timetable import Timetable
from common.leases import Leased
from common.retries import RetryPolicy
from tenants.models import Tenant

WEEKDAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LATE_AFTER = timedelta(minutes=15)
FAILURES_THAT_PAUSE = 5


class Report(models.Model):
    """What a user wants to be sent: a dashboard or tiles of its own, for a period, filtered.

    Its owner's rights are what it is sent by.
    """

    class WhenStale(models.TextChoices):
        NOTICE = "notice", "Send it with a plain notice"
        HOLD = "hold", "Hold it until an admin releases it"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="reports")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="reports"
    )
    name = models.CharField(max_length=120)
    dashboard = models.CharField(
        max_length=40,
        blank=True,
        default=OVERVIEW.slug,
        choices=[(each.slug, each.title) for each in DASHBOARDS.values()],
        help_text="Empty: the report's own tiles.",
    )
    period = models.CharField(max_length=40, choices=list(PRESETS.items()), default="last-week")
    filters = models.JSONField(default=dict, blank=True)
    as_pdf = models.BooleanField("PDF", default=True)
    as_csv = models.BooleanField("CSV", default=False)
    as_xlsx = models.BooleanField("XLSX", default=False)
    freshness_hours = models.PositiveSmallIntegerField(
        "data may be this old",
        default=26,
        validators=[MinValueValidator(1), MaxValueValidator(24 * 60)],
        help_text="In hours, from the newest file. Older data keep the report waiting.",
    )
    wait_minutes = models.PositiveSmallIntegerField(
        "and keep it waiting for",
        default=120,
        validators=[MaxValueValidator(7 * 1440)],
        help_text="In minutes, at most.",
    )
    when_stale = models.CharField(
        "after that", max_length=8, choices=WhenStale, default=WhenStale.NOTICE
    )
    created_at = models.DateTimeField(auto_now_add=True)
    removed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class ReportTile(models.Model):
    """One tile of a report that is no dashboard."""

    report = models.ForeignKey(Report, on_delete=models.CASCADE, related_name="tiles")
    position = models.PositiveSmallIntegerField()
    type = models.CharField(max_length=8, choices=[(each.value, each.value) for each in TileType])
    metrics = models.JSONField(help_text="Names of one or two metrics.")
    period = models.CharField(max_length=40, blank=True, choices=list(PRESETS.items()))
    filters = models.JSONField(default=dict, blank=True)
    dimension = models.CharField(
        max_length=40, blank=True, help_text="What a breakdown is by; empty for the metric's own."
    )

    class Meta:
        ordering = ["report", "position"]

    def __str__(self) -> str:
        return f"{self.type} of {' and '.join(self.metrics)}"


class Recipient(models.Model):
    """A member, or an address at one of the tenant's domains."""

    report = models.ForeignKey(Report, on_delete=models.CASCADE, related_name="recipients")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    address = models.EmailField(blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(user__isnull=True) ^ Q(address=""), name="member_or_address"
            ),
        ]

    def __str__(self) -> str:
        return self.mail_address or f"{self.user} (who has no mail address)"

    @property
    def mail_address(self) -> str:
        return self.user.email if self.user else self.address


class Schedule(models.Model):
    """When a report is due, at a local time of its tenant."""

    class Frequency(models.TextChoices):
        DAILY = timetable.DAILY, "Every day"
        WEEKDAYS = timetable.WEEKDAYS, "Monday to Friday"
        WEEKLY = timetable.WEEKLY, "Every week"
        MONTHLY = timetable.MONTHLY, "Every month"

    report = models.OneToOneField(Report, on_delete=models.CASCADE, related_name="schedule")
    frequency = models.CharField(max_length=8, choices=Frequency, default=Frequency.WEEKLY)
    at = models.TimeField("at", default=time(7), help_text="In the tenant's time zone.")
    weekday = models.PositiveSmallIntegerField(
        "on", choices=list(enumerate(WEEKDAY_NAMES)), default=0
    )
    day = models.PositiveSmallIntegerField(
        "on day",
        choices=[*((day, str(day)) for day in range(1, 29)), (timetable.LAST_DAY, "Last day")],
        default=1,
    )
    planned_until = models.DateTimeField(
        default=timezone.now, help_text="Everything due up to here has its occurrence."
    )
    paused_at = models.DateTimeField(null=True, blank=True)
    pause_reason = models.TextField(blank=True)

    class Meta:
        ordering = ["report"]

    def __str__(self) -> str:
        match self.frequency:
            case self.Frequency.WEEKLY:
                when = f"Every {WEEKDAY_NAMES[self.weekday]}"
            case self.Frequency.MONTHLY:
                when = f"Every month on day {self.day}" if self.day else "Last day of every month"
            case _:
                when = self.Frequency(self.frequency).label
        return f"{when} at {self.at:%H:%M}"

    @property
    def timetable(self) -> Timetable:
        zone = self.report.tenant.zone
        return Timetable(self.frequency, self.at, zone, self.weekday, self.day)


class Occurrence(Leased):
    """One time that a report was due, or was tried out.

    `as_of` and `content` are pinned when it is composed and never change: what was sent can be
    opened again.
    """

    LEASE = timedelta(minutes=15)  # far longer than composing takes
    RETRY = RetryPolicy(first=timedelta(minutes=4), longest=timedelta(hours=1), attempts=5)

    class Kind(models.TextChoices):
        SCHEDULED = "scheduled", "Scheduled"
        TEST = "test", "Test"

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        COMPOSING = "composing", "Composing"
        SENDING = "sending", "Sending"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"
        HELD = "held", "Held"
        SKIPPED = "skipped", "Skipped"

    report = models.ForeignKey(Report, on_delete=models.CASCADE, related_name="occurrences")
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.SCHEDULED)
    due_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    # The first line is for all members; the rest may name servers, and is for admins.
    note = models.TextField(blank=True, help_text="Why it waits, is held, was skipped or failed.")
    is_released = models.BooleanField(default=False, help_text="Goes out although data are late.")
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    as_of = models.DateTimeField(null=True, blank=True)
    content = models.JSONField(null=True, blank=True)
    digest = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-due_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["report", "due_at"],
                condition=Q(kind="scheduled"),
                name="one_occurrence_per_due_time",
            )
        ]
        indexes = [models.Index(fields=["state", "try_at"])]

    def __str__(self) -> str:
        due = timezone.localtime(self.due_at, self.report.tenant.zone)
        return f"{self.report} of {due:%Y-%m-%d %H:%M}"

    @property
    def reason(self) -> str:
        """The first line of the note, without details of the platform."""
        return self.note.partition("\n")[0]

    def is_late(self, now: datetime) -> bool:
        """Whether readers should hear that it is late, but not because it may wait for data."""
        may_wait = timedelta(minutes=self.report.wait_minutes if self.claims > 1 else 0)
        is_scheduled = self.kind == self.Kind.SCHEDULED
        return (
            is_scheduled
            and max(self.created_at - self.due_at, now - self.due_at - may_wait) > LATE_AFTER
        )


class Delivery(Leased):
    """One occurrence on its way to one recipient: the ledger.

    `handed_over_at` is written before the first byte goes to the mail server. A delivery that was
    claimed and not handed over can be taken up again; one that was handed over, but whose outcome
    was never recorded, is unknown and stays so.
    """

    LEASE = timedelta(minutes=10)  # far longer than a mail server is waited for
    RETRY = RetryPolicy(
        first=timedelta(minutes=2), factor=6, longest=timedelta(hours=1), attempts=4
    )

    class State(models.TextChoices):
        QUEUED = "queued", "Queued"
        SENDING = "sending", "Sending"
        SENT = "sent", "Sent"
        FAILED = "failed", "Failed"
        BOUNCED = "bounced", "Bounced"
        UNSUBSCRIBED = "unsubscribed", "Unsubscribed"
        WITHHELD = "withheld", "Withheld"
        UNKNOWN = "unknown", "Unknown"

    OPEN = (State.QUEUED, State.SENDING)

    occurrence = models.ForeignKey(Occurrence, on_delete=models.CASCADE, related_name="deliveries")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    is_member = models.BooleanField(help_text="Sent to a member, not to an outside address.")
    address = models.EmailField()
    state = models.CharField(max_length=12, choices=State, default=State.QUEUED)
    reason = models.TextField(blank=True, help_text="What the mail server said, or why not sent.")
    message_id = models.CharField(max_length=200, unique=True)
    provider_id = models.CharField(max_length=200, blank=True, db_index=True)
    handed_over_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["occurrence", "address"]
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(
                fields=["occurrence", "address"], name="one_delivery_per_recipient"
            )
        ]
        indexes = [models.Index(fields=["state", "try_at"])]

    def __str__(self) -> str:
        return f"{self.occurrence} to {self.address}"


class Unsubscription(models.Model):
    """An address that wants no more of one report, or of any report of a tenant."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="unsubscriptions")
    address = models.EmailField(help_text="In lower case.")
    report = models.ForeignKey(
        Report, null=True, blank=True, on_delete=models.CASCADE, related_name="unsubscriptions"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["tenant", "address"]
        constraints = [
            models.UniqueConstraint(
                fields=["address", "report"], name="unsubscribed_once_from_a_report"
            ),
            models.UniqueConstraint(
                fields=["tenant", "address"],
                condition=Q(report__isnull=True),
                name="unsubscribed_once_from_all",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.address}: {self.report or 'all reports'}"

    @classmethod
    def holds(cls, report: Report, address: str) -> bool:
        """Whether `address` wants no more of `report`."""
        mine = cls.objects.filter(tenant_id=report.tenant_id, address=address.lower())
        return mine.filter(Q(report=report) | Q(report=None)).exists()


def open_reports(tenant: Tenant) -> "models.QuerySet[Report, Any]":
    """A tenant's reports that were not removed."""
    return Report.objects.filter(tenant=tenant, removed_at__isnull=True)
