"""Tenants, users, memberships, API tokens and alerts."""

import hashlib
import re
import secrets
import zoneinfo
from datetime import time, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Self

from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone

from common.leases import Leased
from common.retries import RetryPolicy

TENANT_ID_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}\Z"


def validate_time_zone(name: str) -> None:
    if name not in zoneinfo.available_timezones():
        raise ValidationError(f"{name} is not an IANA time zone, such as Europe/Berlin.")


def validate_domains(text: str) -> None:
    for domain in text.split():
        if not re.fullmatch(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}", domain.lower()):
            raise ValidationError(f"{domain} is not a domain, such as example.com.")


class User(AbstractUser):
    """A person who logs in. Access to tenants depends on `Membership` only."""


class Tenant(models.Model):
    """One managed service provider.

    `id` is the tenant_id of every warehouse row, the first part of every object key in the lake,
    and the name in URLs. It never changes.
    """

    id = models.CharField(
        "tenant id",
        primary_key=True,
        max_length=63,
        validators=[
            RegexValidator(
                TENANT_ID_PATTERN, "Use lower-case letters, digits, hyphens and underscores."
            )
        ],
        help_text="Also the prefix of this tenant's files in the lake. It cannot be changed later.",
    )
    name = models.CharField(max_length=200)
    time_zone = models.CharField(
        max_length=64,
        default="UTC",
        validators=[validate_time_zone],
        help_text="IANA name. Days in charts and reports start at midnight in this zone.",
    )
    opens_at = models.TimeField(
        "business hours begin",
        default=time(8),
        help_text="On weekdays. Work that begins outside business hours counts as after hours.",
    )
    closes_at = models.TimeField("business hours end", default=time(18))
    capacity_hours = models.DecimalField(
        "daily capacity",
        max_digits=4,
        decimal_places=2,
        default=Decimal("8.00"),
        validators=[MinValueValidator(Decimal("0.25")), MaxValueValidator(Decimal(24))],
        help_text="Hours that a technician can bill per day; utilization is relative to it.",
    )
    color = models.CharField(
        max_length=7,
        default="#2459c9",
        validators=[RegexValidator(r"^#[0-9a-fA-F]{6}\Z", "Use a color such as #2459c9.")],
        help_text="For headings and lines in this tenant's mails and documents.",
    )
    logo = models.BinaryField(blank=True, default=b"", help_text="A PNG made by `logos`.")
    report_domains = models.TextField(
        "domains for reports",
        blank=True,
        validators=[validate_domains],
        help_text="One per line, such as example.com. Reports may be sent to addresses at these "
        "domains, and always to members.",
    )
    load_minutes = models.PositiveIntegerField(
        "minutes between loads",
        null=True,
        blank=True,
        validators=[MaxValueValidator(7 * 24 * 60)],
        help_text="Blank: the default (PIPELINE_MINUTES). 0: only on demand.",
    )
    refresh_at = models.TimeField(
        "nightly refresh",
        null=True,
        blank=True,
        help_text="Local time of the full refresh. Blank: the default (PIPELINE_REFRESH_AT).",
    )
    demands_second_factor = models.BooleanField(
        "two-factor login",
        default=False,
        help_text="Members must set up a second factor (an app or a passkey) to see anything.",
    )
    loading_since = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="When the pipeline started to load new data; reports wait until it ends.",
    )
    is_active = models.BooleanField(
        "active",
        default=True,
        help_text="Off: no pages, no API, no loads, no reports. The data is kept.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    scheduled_since = models.DateTimeField(
        default=timezone.now,
        editable=False,
        help_text="Start of the current schedule; the tenant cannot be late before it.",
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.opens_at >= self.closes_at:
            raise ValidationError({"closes_at": "Business hours must end after they begin."})

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        return zoneinfo.ZoneInfo(self.time_zone)

    def allows_address(self, address: str) -> bool:
        """Whether reports may go to `address` even if it belongs to no member."""
        domain = address.rpartition("@")[2].lower()
        return bool(domain) and domain in self.report_domains.lower().split()

    @cached_property
    def sla_targets_by_priority(self) -> "dict[str, SlaTarget]":
        return {target.priority: target for target in self.sla_targets.order_by("priority")}


class SlaTarget(models.Model):
    """A tenant's targets for response and resolution of tickets of one priority."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="sla_targets")
    priority = models.CharField(max_length=200, help_text="Exactly as in the tickets.")
    response_hours = models.DecimalField(
        "hours to the first response",
        max_digits=7,
        decimal_places=2,
        validators=[MinValueValidator(Decimal("0.01"))],
    )
    resolution_hours = models.DecimalField(
        "hours to the resolution",
        max_digits=7,
        decimal_places=2,
        validators=[MinValueValidator(Decimal("0.01"))],
    )

    class Meta:
        ordering = ["tenant", "priority"]
        verbose_name = "SLA target"
        constraints = [
            models.UniqueConstraint(fields=["tenant", "priority"], name="one_target_per_priority")
        ]

    def __str__(self) -> str:
        return f"{self.priority}: {self.response_hours} h, {self.resolution_hours} h"


class Membership(models.Model):
    """One user's access to one tenant."""

    class Role(models.TextChoices):
        ADMIN = "admin", "Tenant admin"
        VIEWER = "viewer", "Viewer"

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role, default=Role.VIEWER)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["tenant", "user"]
        constraints = [
            models.UniqueConstraint(fields=["user", "tenant"], name="one_membership_per_tenant")
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.tenant}"


class ApiToken(models.Model):
    """A bearer token for one tenant's JSON API. Only its SHA-256 digest is stored."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100, help_text="The program that uses it.")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    hint = models.CharField("starts with", max_length=12, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    secret = ""  # never stored: only on the object of a token that was issued just now

    class Meta:
        ordering = ["tenant", "name"]
        verbose_name = "API token"
        permissions = [("issue_any_apitoken", "Can issue API tokens for any tenant")]

    def __str__(self) -> str:
        return f"{self.name} ({self.hint}…)"

    @classmethod
    def issue(cls, tenant: Tenant, name: str) -> tuple[Self, str]:
        """Create a token; returns it with its secret, which cannot be read again."""
        token = cls(tenant=tenant, name=name)
        secret = token.set_new_secret()
        token.save()
        return token, secret

    def set_new_secret(self) -> str:
        secret = f"avesa_{secrets.token_urlsafe(32)}"
        self.digest = self.digest_of(secret)
        self.hint = secret[:12]
        return secret

    @staticmethod
    def digest_of(secret: str) -> str:
        return hashlib.sha256(secret.encode()).hexdigest()


class Alert(Leased):
    """A fault that staff are notified of, until it is over."""

    LEASE = timedelta(minutes=5)  # far longer than a channel is waited for
    RETRY = RetryPolicy(first=timedelta(minutes=5), longest=timedelta(hours=12), attempts=None)

    class Kind(models.TextChoices):
        LOAD = "load", "A load failed"
        INTEGRITY = "integrity", "History is not sound"
        REPORT = "report", "A report did not go out"
        PIPELINE = "pipeline", "A pipeline run failed"
        LATE = "late", "Data are late"
        SILENT = "silent", "A process is silent"

    kind = models.CharField(max_length=16, choices=Kind)
    tenant = models.ForeignKey(
        Tenant,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="alerts",
        help_text="None if it is the platform that is at fault.",
    )
    subject = models.CharField(max_length=200, help_text="The table, report or process at fault.")
    text = models.TextField()
    raised_at = models.DateTimeField(auto_now_add=True)
    over_at = models.DateTimeField(null=True, blank=True)
    pending_channels = models.JSONField(
        default=list, editable=False, help_text="Channels on which it was not sent yet."
    )

    class Meta:
        ordering = ["-raised_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "tenant", "subject"],
                condition=models.Q(over_at__isnull=True),
                name="one_open_alert_per_fault",
            ),
            models.UniqueConstraint(
                fields=["kind", "subject"],
                condition=models.Q(over_at__isnull=True, tenant__isnull=True),
                name="one_open_alert_per_fault_of_the_platform",
            ),
        ]

    def __str__(self) -> str:
        where = f"{self.tenant_id}/{self.subject}" if self.tenant_id else self.subject
        return f"{self.get_kind_display()}: {where}"
