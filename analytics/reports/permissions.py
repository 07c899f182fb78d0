"""Permissions to send and receive a report, checked each time it is sent or opened."""

from analytics.reports.models import Delivery, Occurrence
from tenants.models import Membership, Tenant


def refusal_of(occurrence: Occurrence) -> str:
    """Why the report must not be sent, or "". Current permissions count, not those at creation."""
    report = occurrence.report
    if not report.tenant.is_active:
        return "The tenant is suspended."
    if report.removed_at:
        return "The report was removed."
    sender = occurrence.requested_by if occurrence.kind == Occurrence.Kind.TEST else report.owner
    may_send = Membership.objects.filter(
        tenant=report.tenant, user=sender, user__is_active=True, role=Membership.Role.ADMIN
    )
    if sender is None or not may_send.exists():
        return (
            "The owner of this report is no longer an admin of the tenant. Any admin can become "
            "the owner by saving the report."
        )
    return ""


def may_receive(tenant: Tenant, delivery: Delivery) -> bool:
    """Whether the recipient may see this tenant's reports now."""
    if not tenant.is_active:
        return False
    if not delivery.is_member:
        return tenant.allows_address(delivery.address)
    user = delivery.user
    return (
        user is not None
        and Membership.objects.filter(tenant=tenant, user=user, user__is_active=True).exists()
    )
