"""Access checks for tenants. Each checks one caller and one tenant in one query.

A tenant that does not exist, is suspended or belongs to others gives the same error:
`TenantNotFound`, which Django turns into a 404.
"""

import re

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404

from common.logs import add_log_context
from tenants.models import TENANT_ID_PATTERN, ApiToken, Membership, Tenant, User


class TenantNotFound(Http404):
    def __init__(self) -> None:
        super().__init__("No such tenant.")


def tenants_of(user: User) -> QuerySet[Tenant]:
    """The active tenants that `user` is a member of, by name."""
    return Tenant.objects.filter(is_active=True, memberships__user=user).order_by("name")


def active_tenants() -> QuerySet[Tenant]:
    """For conditional UPDATEs: with `tenant__in`, their other conditions stay on the row itself.

    With a join (`tenant__is_active`), Django moves them into a subquery. PostgreSQL does not
    evaluate it again after waiting for a locked row, so two workers could claim the row.
    """
    return Tenant.objects.filter(is_active=True)


def is_locked_out(user: User) -> bool:
    """Whether all tenants of `user` are suspended. Never true for staff."""
    if user.is_staff:
        return False
    active = list(user.memberships.values_list("tenant__is_active", flat=True))
    return bool(active) and not any(active)


def access_tenant(user: User, tenant_id: str) -> Tenant:
    """The tenant, if `user` is a member of it. Staff status alone gives no access."""
    is_id = re.match(TENANT_ID_PATTERN, tenant_id)
    tenant = tenants_of(user).filter(id=tenant_id).first() if is_id else None
    if tenant is None:
        raise TenantNotFound
    add_log_context(tenant=tenant.id)
    return tenant


def access_tenant_as_admin(user: User, tenant_id: str) -> Tenant:
    """The tenant, if `user` is one of its admins; PermissionDenied for other members."""
    tenant = access_tenant(user, tenant_id)
    if not is_admin_of(user, tenant):
        raise PermissionDenied("Only admins of this tenant can do this.")
    return tenant


def is_admin_of(user: User, tenant: Tenant) -> bool:
    return tenant.memberships.filter(user=user, role=Membership.Role.ADMIN).exists()


def tenant_of_token(secret: str) -> Tenant | None:
    """The active tenant that a bearer token belongs to, or None."""
    token = (
        ApiToken.objects.select_related("tenant")
        .filter(digest=ApiToken.digest_of(secret), revoked_at__isnull=True, tenant__is_active=True)
        .first()
    )
    if token is None:
        return None
    add_log_context(tenant=token.tenant_id)
    return token.tenant
