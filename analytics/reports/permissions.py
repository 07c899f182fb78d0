"""Who may send and be sent a report: asked again whenever one goes out or is opened."""

from analytics.reports.models import Delivery, Occurrence
from tenants.models import Membership, Tenant


def refusal_of(occurrence: Occurrence) -> str:
    """Why the report may not go out at all: rights are those of now, not of when it was made."""
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
            "Its owner is no admin of this tenant any more. An admin who saves the report becomes "
            "its owner."
        )
    return ""


def may_receive(tenant: Tenant, delivery: Delivery) -> bool:
    """Whether the recipient may be shown what the tenant may show, now."""
    if not tenant.is_active:
        return False
    if not delivery.is_member:
        return tenant.allows_address(delivery.address)
    user = delivery.user
    return (
        user is not None
        and Membership.objects.filter(tenant=tenant, user=user, user__is_active=True).exists()
    )
