"""The doors to a tenant. Each answers for one caller and one tenant in one query.

A tenant that does not exist, is suspended or belongs to others looks the same: `TenantNotFound`,
which Django answers with 404.
"""

import re

from django.db.models import QuerySet
from django.http import Http404

from .models import TENANT_ID_PATTERN, ApiToken, Tenant, User


class TenantNotFound(Http404):
    def __init__(self) -> None:
        super().__init__("No such tenant.")


def tenants_of(user: User) -> QuerySet[Tenant]:
    """The active tenants that `user` is a member of, by name."""
    return Tenant.objects.filter(is_active=True, memberships__user=user).order_by("name")


def access_tenant(user: User, tenant_id: str) -> Tenant:
    """The tenant, if `user` is a member of it. Being staff opens no tenant."""
    is_id = re.match(TENANT_ID_PATTERN, tenant_id)
    tenant = tenants_of(user).filter(id=tenant_id).first() if is_id else None
    if tenant is None:
        raise TenantNotFound
    return tenant


def tenant_of_token(secret: str) -> Tenant | None:
    """The active tenant that a bearer token speaks for, or None."""
    token = (
        ApiToken.objects.select_related("tenant")
        .filter(digest=ApiToken.digest_of(secret), revoked_at__isnull=True, tenant__is_active=True)
        .first()
    )
    return token.tenant if token else None
