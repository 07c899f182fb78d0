"""Bounces and complaints that email providers report later."""

from typing import Any

from anymail.signals import EventType, tracking
from django.db.models import Q
from django.dispatch import receiver

from analytics.reports.models import Delivery, Unsubscription
from common.texts import storable

_BOUNCES = {EventType.BOUNCED, EventType.REJECTED, EventType.FAILED}
_COMPLAINTS = {EventType.COMPLAINED, EventType.UNSUBSCRIBED}


@receiver(tracking)
def record(sender: Any, event: Any, **kwargs: Any) -> None:
    """Handle django-anymail's signal, for any provider. Events of other emails are ignored."""
    from analytics.reports import (
        after_delivery,  # loads the chart library, which not every process needs
    )

    if event.event_type not in _BOUNCES | _COMPLAINTS:
        return
    delivery = _delivery_of(event)
    if delivery is None:
        return
    reason = storable(
        event.mta_response or event.description or event.reject_reason or event.event_type
    )
    if event.event_type in _COMPLAINTS:
        report = delivery.occurrence.report
        Unsubscription.objects.get_or_create(
            tenant=report.tenant, report=report, address=delivery.address.lower()
        )
        return
    may_bounce = (Delivery.State.SENT, Delivery.State.UNKNOWN)
    found = Delivery.objects.filter(pk=delivery.pk, state__in=may_bounce)
    if found.update(state=Delivery.State.BOUNCED, reason=reason):
        after_delivery.record_outcome(delivery, Delivery.State.BOUNCED, reason)


def _delivery_of(event: Any) -> Delivery | None:
    """The delivery, by its key in the email's metadata or by the provider's id of the email."""
    key = str((event.metadata or {}).get("delivery", ""))
    by_key = Q(pk=int(key)) if key.isdecimal() and len(key) < 19 else Q(pk=None)
    by_id = Q(provider_id=event.message_id) if event.message_id else Q(pk=None)
    related = "occurrence__report__tenant", "occurrence__report__owner"
    found = Delivery.objects.select_related(*related).filter(by_key | by_id)
    return next((each for each in found if _is_to(each, event)), None)


def _is_to(delivery: Delivery, event: Any) -> bool:
    return not event.recipient or event.recipient.lower() == delivery.address.lower()
