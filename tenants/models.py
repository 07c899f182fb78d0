"""Who may see whose data: tenants, users, memberships and API tokens."""

import hashlib
import secrets
import zoneinfo
from typing import Self

from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models

TENANT_ID_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}\Z"


def validate_time_zone(name: str) -> None:
    if name not in zoneinfo.available_timezones():
        raise ValidationError(f"{name} is not an IANA time zone, such as Europe/Berlin.")


class User(AbstractUser):
    """A person who logs in. What they see of tenants is decided by `Membership` alone."""


class Tenant(models.Model):
    """One managed service provider.

    `id` is at once the tenant_id of every warehouse row, the first part of every object key in
    the lake and the name in the URL. It never changes.
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
        help_text="IANA name; days in charts and reports begin at its midnight.",
    )
    is_active = models.BooleanField(
        "active", default=True, help_text="Off: no pages, no API, no loads. The data is kept."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        return zoneinfo.ZoneInfo(self.time_zone)


class Membership(models.Model):
    """One user's right to see one tenant."""

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
    """A bearer token for one tenant's JSON API. Only its SHA-256 digest is kept."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100, help_text="Which program uses it.")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    hint = models.CharField("starts with", max_length=12, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["tenant", "name"]
        verbose_name = "API token"

    def __str__(self) -> str:
        return f"{self.name} ({self.hint}…)"

    @classmethod
    def issue(cls, tenant: Tenant, name: str) -> tuple[Self, str]:
        """A new saved token and its secret, which can be shown this once only."""
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
