"""Telling staff of a fault once, until it is over."""

import logging
import smtplib

import requests
from anymail.exceptions import AnymailError
from django.conf import settings
from django.core.mail import mail_admins
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from avesa_site.aws import AwsError, publish
from avesa_site.texts import storable

from .models import Alert

log = logging.getLogger(__name__)


def raise_alert(kind: Alert.Kind, tenant_id: str | None, subject: str, text: str) -> None:
    """Open an alert and tell it once; one that is open already only gets the text.

    Without a tenant it is the platform that is at fault. Secrets in the text are hidden.
    """
    text = storable(text)
    try:
        with transaction.atomic():
            alert = Alert.objects.create(kind=kind, tenant_id=tenant_id, subject=subject, text=text)
    except IntegrityError:
        _open(kind, tenant_id, subject).update(text=text)
        return
    log.error("%s: %s", alert, text)
    transaction.on_commit(lambda: _tell(alert))


def _tell(alert: Alert) -> None:
    """By every way that is set up; one that fails is no reason not to try the others."""
    for way in (_by_mail, _by_webhook, _by_sns):
        try:
            way(alert)
        except (smtplib.SMTPException, OSError, AnymailError, AwsError) as error:
            log.warning("an alert could not be told %s: %s", way.__name__.strip("_"), error)


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


def all_clear(kind: Alert.Kind, tenant_id: str | None, subject: str) -> None:
    _open(kind, tenant_id, subject).update(over_at=timezone.now())


def _open(kind: Alert.Kind, tenant_id: str | None, subject: str) -> QuerySet[Alert]:
    return Alert.objects.filter(
        kind=kind, tenant_id=tenant_id, subject=subject, over_at__isnull=True
    )
