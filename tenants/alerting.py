"""Notifying staff of a fault once, until it is over. What could not be sent is sent later.

A part that is away fails the loads of every tenant: the first few alerts are sent one by one, the
rest of such a burst in one message.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import requests
from django.conf import settings
from django.core.mail import mail_admins
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from common.aws import publish
from common.texts import one_line, storable
from tenants.models import Alert

log = logging.getLogger(__name__)

FEW, BURST = 5, timedelta(minutes=5)
MAX_AT_ONCE, MAX_SHOWN = 1000, 50


def raise_alert(kind: Alert.Kind, tenant_id: str | None, subject: str, text: str) -> None:
    """Open an alert and send it once; one that is open already only gets the text.

    Without a tenant it is the platform that is at fault. Secrets in the text are hidden.
    """
    text, now = storable(text), timezone.now()
    # With the workers silent no other process would send it.
    is_ours = kind == Alert.Kind.SILENT or _recent(now - BURST) < FEW
    try:
        with transaction.atomic():
            alert = Alert.objects.create(
                kind=kind,
                tenant_id=tenant_id,
                subject=subject,
                text=text,
                pending_channels=list(CHANNELS),
                claimed_at=now if is_ours else None,
                claims=int(is_ours),
            )
    except IntegrityError:
        _open(kind, tenant_id, subject).update(text=text)
        return
    log.error("%s: %s", alert, text)
    if is_ours:
        transaction.on_commit(lambda: _send([alert]))


def _recent(since: datetime) -> int:
    return Alert.objects.filter(raised_at__gt=since).count()


def send_pending(kinds: Iterable[Alert.Kind] = Alert.Kind) -> int:
    """Send what was left for later, could not be sent, or was not by a process that died.

    Later and later, as long as the fault lasts. Returns how many alerts it tried to send.
    """
    waiting = due().filter(kind__in=list(kinds))
    keys = list(waiting.order_by("raised_at").values_list("pk", flat=True)[:MAX_AT_ONCE])
    ours = [alert for key in keys if (alert := Alert.claim(waiting, key))]
    if ours:
        _send(ours)
    return len(ours)


def due() -> QuerySet[Alert]:
    """Open alerts that may be sent now."""
    free = Alert.free(timezone.now())
    return free.filter(over_at__isnull=True).exclude(pending_channels=[])


def _send(alerts: Sequence[Alert]) -> None:
    """On every channel that is left; one that fails is no reason not to try the others."""
    for name in CHANNELS:
        group = [each for each in alerts if name in each.pending_channels]
        if group and _was_sent(name, group):
            for alert in group:
                alert.pending_channels.remove(name)
                alert.beat(pending_channels=alert.pending_channels)  # should this process die
    for alert in alerts:
        give_back = alert.retry if alert.pending_channels else alert.give_back
        give_back(pending_channels=alert.pending_channels)


def _was_sent(name: str, alerts: Sequence[Alert]) -> bool:
    try:
        CHANNELS[name](alerts)
    except Exception as error:  # one that is set up wrongly must not keep the others from sending
        log.warning("%s alerts could not be sent by %s: %s", len(alerts), name, error)
        return False
    return True


# --- The channels. One that is not set up has nothing to do.


def _by_mail(alerts: Sequence[Alert]) -> None:
    mail_admins(_headline(alerts), f"{_words(alerts)}\n")


def _by_webhook(alerts: Sequence[Alert]) -> None:
    """POST to ALERT_WEBHOOK_URL; `text` alone is what chat programs show, without previews."""
    if not settings.ALERT_WEBHOOK_URL:
        return
    message: Any = {
        "text": _verbatim(_words(alerts)),
        "unfurl_links": False,
        "unfurl_media": False,
        "alerts": [_facts(each) for each in alerts],
    }
    requests.post(settings.ALERT_WEBHOOK_URL, json=message, timeout=10).raise_for_status()


_ESCAPED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "`": "'"})


def _verbatim(text: str) -> str:
    """A code block, in which chat programs run no markup: file names and errors may hold some.

    Escaped are the mentions and links of Slack and Teams (`<!channel>`, `<address|text>`), broken
    up the links of Markdown, and replaced the backticks that would end the block.
    https://docs.slack.dev/messaging/formatting-message-text#escaping
    """
    return f"```\n{text.translate(_ESCAPED).replace('](', '] (')}\n```"


def _by_sns(alerts: Sequence[Alert]) -> None:
    if settings.ALERT_SNS_TOPIC:
        publish(settings.ALERT_SNS_TOPIC, _headline(alerts), f"{_words(alerts)}\n")


CHANNELS: dict[str, Callable[[Sequence[Alert]], None]] = {
    "mail": _by_mail,
    "webhook": _by_webhook,
    "sns": _by_sns,
}


def channels_set_up() -> list[str]:
    """Those on which alerts reach a person."""
    is_set = {
        "mail": settings.ADMINS,
        "webhook": settings.ALERT_WEBHOOK_URL,
        "sns": settings.ALERT_SNS_TOPIC,
    }
    return [name for name in CHANNELS if is_set[name]]


NO_CHANNEL = "reach no one. Set ALERT_EMAILS, ALERT_WEBHOOK_URL or ALERT_SNS_TOPIC."


def _headline(alerts: Sequence[Alert]) -> str:
    return one_line(str(alerts[0])) if len(alerts) == 1 else f"{len(alerts)} alerts"


def _words(alerts: Sequence[Alert]) -> str:
    words = [f"{each}\n\n{each.text}" for each in alerts[:MAX_SHOWN]]
    if len(alerts) > MAX_SHOWN:
        words.append(f"And {len(alerts) - MAX_SHOWN} more: see Alerts in the admin.")
    return "\n\n\n".join(words)


def _facts(alert: Alert) -> dict[str, str | None]:
    return {
        "kind": alert.kind,
        "tenant": alert.tenant_id,
        "subject": alert.subject,
        "raised_at": alert.raised_at.isoformat(),
    }


# --- Ends


def all_clear(kind: Alert.Kind, tenant_id: str | None, subject: str) -> None:
    _open(kind, tenant_id, subject).update(over_at=timezone.now())


def end_those_of_suspended() -> None:
    """Nothing that could end them happens for suspended tenants; afterwards they open again."""
    Alert.objects.filter(tenant__is_active=False, over_at__isnull=True).update(
        over_at=timezone.now()
    )


def _open(kind: Alert.Kind, tenant_id: str | None, subject: str) -> QuerySet[Alert]:
    return Alert.objects.filter(
        kind=kind, tenant_id=tenant_id, subject=subject, over_at__isnull=True
    )
