"""Signed links for readers without a login. Each link belongs to one delivery.

Anyone who has the email can open its link. The link shows what the email shows, nothing more, and
that for REPORT_LINK_DAYS after the email was sent, unless the report is removed earlier. The links
to unsubscribe have no end: no one must get a report that he cannot unsubscribe from.
"""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.http import Http404
from django.urls import reverse
from django.utils import timezone

from analytics.reports.models import Delivery
from analytics.reports.permissions import may_receive

_SIGNER = Signer(salt="analytics.reports.delivery")


def token_of(delivery: Delivery) -> str:
    return _SIGNER.sign(str(delivery.pk))


def delivery_of(token: str) -> Delivery:
    """The delivery of a link, if its tenant is active and its recipient is still allowed.

    Raises Http404 whether the link is forged, revoked or unknown. The link may have expired.
    """
    try:
        key = int(_SIGNER.unsign(token))
    except (BadSignature, ValueError):
        raise Http404("This link is not valid.") from None
    related = "occurrence__report__tenant"
    delivery = Delivery.objects.select_related(related, "user").filter(pk=key).first()
    if delivery is None or not may_receive(delivery.occurrence.report.tenant, delivery):
        raise Http404("This link is not valid.")
    return delivery


def open_delivery_of(token: str) -> Delivery:
    """The same, for what shows figures or other reports: Http404 also if the link has expired or
    the report was removed.
    """
    delivery = delivery_of(token)
    sent_at = delivery.handed_over_at or delivery.occurrence.created_at
    is_over = timezone.now() - sent_at > timedelta(days=settings.REPORT_LINK_DAYS)
    if is_over or delivery.occurrence.report.removed_at:
        raise Http404("This link is not valid.")
    return delivery


def absolute(name: str, *arguments: Any) -> str:
    """The absolute URL of a page, for emails."""
    return f"{settings.SITE_URL.rstrip('/')}{reverse(name, args=arguments)}"


def report_url(delivery: Delivery) -> str:
    return absolute("public_report", token_of(delivery))


def unsubscribe_url(delivery: Delivery) -> str:
    return absolute("unsubscribe", token_of(delivery))


def preferences_url(delivery: Delivery) -> str:
    return absolute("preferences", token_of(delivery))
