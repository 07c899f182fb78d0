"""Telling staff of a fault once, until it is over. What could not be told is told later."""

import logging
import smtplib
from collections.abc import Callable
from datetime import timedelta

import requests
from anymail.exceptions import AnymailError
from django.conf import settings
from django.core.mail import mail_admins
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from avesa_site.aws import AwsError, publish
from avesa_site.clocks import has_come
from avesa_site.texts import storable

from .models import Alert

log = logging.getLogger(__name__)

FIRST_RETRY, LONGEST_RETRY = timedelta(minutes=5), timedelta(hours=12)
AT_ONCE = 20  # so that a way that hangs does not keep a worker for long


def raise_alert(kind: Alert.Kind, tenant_id: str | None, subject: str, text: str) -> None:
    """Open an alert and tell it once; one that is open already only gets the text.

    Without a tenant it is the platform that is at fault. Secrets in the text are hidden.
    """
    text = storable(text)
    try:
        with transaction.atomic():
            alert = Alert.objects.create(
                kind=kind,
                tenant_id=tenant_id,
                subject=subject,
                text=text,
                untold=list(_WAYS),
                tell_at=timezone.now() + FIRST_RETRY,
            )
    except IntegrityError:
        _open(kind, tenant_id, subject).update(text=text)
        return
    log.error("%s: %s", alert, text)
    transaction.on_commit(lambda: _tell(alert))


def tell_untold() -> int:
    """Try again what could not be told, or what a process that died had not told; how many.

    Later and later, as long as the fault lasts.
    """
    now = timezone.now()
    waiting = Alert.objects.filter(
        has_come("tell_at", now, LONGEST_RETRY), over_at__isnull=True
    ).order_by("tell_at")
    count = 0
    for alert in waiting.select_related("tenant")[:AT_ONCE]:
        wait = min(max(FIRST_RETRY, now - alert.raised_at), LONGEST_RETRY)
        mine = Alert.objects.filter(pk=alert.pk, tell_at=alert.tell_at, over_at__isnull=True)
        if mine.update(tell_at=now + wait):
            _tell(alert)
            count += 1
    return count


def _tell(alert: Alert) -> None:
    """By every way that is left; one that fails is no reason not to try the others."""
    untold = [name for name in alert.untold if not _was_told(alert, name)]
    told = Alert.objects.filter(pk=alert.pk)
    if untold:
        told.update(untold=untold)
    else:
        told.update(untold=[], tell_at=None)


def _was_told(alert: Alert, name: str) -> bool:
    try:
        _WAYS[name](alert)
    except (smtplib.SMTPException, OSError, AnymailError, AwsError) as error:
        log.warning("an alert could not be told by %s: %s", name, error)
        return False
    return True


def _by_mail(alert: Alert) -> None:
    mail_admins(str(alert), f"{alert}\n\n{alert.text}\n")


def _by_webhook(alert: Alert) -> None:
    """POST to ALERT_WEBHOOK_URL; `text` alone is what chat programs show."""
    if not settings.ALERT_WEBHOOK_URL:
        return
    told = {
        "text": f"{alert}\n{alert.text}",
        "kind": alert.kind,
        "tenant": alert.tenant_id,
        "subject": alert.subject,
        "raised_at": alert.raised_at.isoformat(),
    }
    requests.post(settings.ALERT_WEBHOOK_URL, json=told, timeout=10).raise_for_status()


def _by_sns(alert: Alert) -> None:
    if settings.ALERT_SNS_TOPIC:
        publish(settings.ALERT_SNS_TOPIC, str(alert), f"{alert}\n\n{alert.text}\n")


# A way that is not set up has nothing to do.
_WAYS: dict[str, Callable[[Alert], None]] = {
    "mail": _by_mail,
    "webhook": _by_webhook,
    "sns": _by_sns,
}


def all_clear(kind: Alert.Kind, tenant_id: str | None, subject: str) -> None:
    _open(kind, tenant_id, subject).update(over_at=timezone.now())


def _open(kind: Alert.Kind, tenant_id: str | None, subject: str) -> QuerySet[Alert]:
    return Alert.objects.filter(
        kind=kind, tenant_id=tenant_id, subject=subject, over_at__isnull=True
    )
