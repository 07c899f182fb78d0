"""One report to one recipient: claimed, handed to the mail server once, and recorded.

SMTP cannot promise exactly one. What is promised: a delivery is handed over by one worker only; one
whose outcome could not be recorded is *unknown*, never "sent" and never tried again by itself; only
what certainly did not go out is retried. The Message-ID is always the same.
"""

import logging
from datetime import datetime
from functools import lru_cache

from django.core.mail import EmailMessage, get_connection
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from analytics.reports import after_delivery, mails
from analytics.reports.content import Content
from analytics.reports.messages import send_soon
from analytics.reports.models import Delivery, Occurrence, Unsubscription
from analytics.reports.permissions import may_receive, refusal_of
from common import mail_answers
from common.logs import log_context
from common.renderers import RenderingFailed
from common.texts import storable

log = logging.getLogger(__name__)

State = Delivery.State


def to_send(now: datetime) -> QuerySet[Delivery]:
    """What is due to be sent, and what a worker claimed and never handed over."""
    return Delivery.free(now).filter(state__in=Delivery.OPEN, handed_over_at=None)


def send(delivery_id: int) -> str:
    """Send one delivery, if it is there to be had; returns its state, "" if it was not."""
    delivery = Delivery.claim(to_send(timezone.now()), delivery_id, state=State.SENDING)
    if delivery is None:
        return ""
    with log_context(tenant=delivery.occurrence.report.tenant_id, delivery=delivery.pk):
        if delivery.is_exhausted:
            return _failed(delivery, "Its workers stopped responding, before they sent it.")
        return _send(delivery)


def _send(delivery: Delivery) -> str:
    state, reason = _refused(delivery)
    if state is None:
        try:
            mail = mails.report_mail(composed_mail(delivery.occurrence_id), delivery)
        except RenderingFailed as error:
            return _try_later(delivery, f"The mail could not be made. {error}")
        except Exception as error:
            log.exception("the mail of %s could not be made", delivery)
            return _failed(delivery, f"The mail could not be made: {type(error).__name__}")
        return _hand_over(delivery, mail)
    return _record(delivery, state, reason)


def _refused(delivery: Delivery) -> tuple[State | None, str]:
    """Whether rights or wishes changed since the report was composed."""
    report = delivery.occurrence.report
    refusal = refusal_of(delivery.occurrence)
    if refusal:
        return State.WITHHELD, refusal
    if not may_receive(report.tenant, delivery):
        who = "no member any more" if delivery.is_member else "at no domain that is allowed"
        return State.WITHHELD, f"The recipient is {who}."
    is_test_send = delivery.occurrence.kind == Occurrence.Kind.TEST
    if not is_test_send and Unsubscription.holds(report, delivery.address):
        return State.UNSUBSCRIBED, ""
    return None, ""


@lru_cache(maxsize=4)
def composed_mail(occurrence_id: int) -> mails.ComposedMail:
    """Charts and documents are made once for all recipients that this process sends to.

    Content never changes once it is composed, so neither does this.
    """
    occurrence = Occurrence.objects.select_related("report__tenant").get(pk=occurrence_id)
    content = Content.from_json(occurrence.content or {})
    if content.digest != occurrence.digest:
        raise ValueError(f"the content of {occurrence} is not what was composed")
    return mails.composed_mail(occurrence.report, content)


def _hand_over(delivery: Delivery, mail: EmailMessage) -> str:
    connection = get_connection()
    try:
        connection.open()
    except Exception as error:  # nothing was handed over, whatever it was
        return _retry_or_fail(delivery, error)
    try:
        # The last write before the first byte: from here on no worker may try again by itself.
        if not delivery.beat(handed_over_at=timezone.now()):
            return ""
        try:
            connection.send_messages([mail])
        except Exception as error:
            return _not_sent(delivery, error)
        return _record(delivery, State.SENT, provider_id=_provider_id(mail))
    finally:
        mail_answers.close(connection)


def _provider_id(mail: EmailMessage) -> str:
    """What the ESP calls this mail, by which its webhook speaks of it."""
    status = getattr(mail, "anymail_status", None)
    return str(getattr(status, "message_id", None) or "")


def _not_sent(delivery: Delivery, error: Exception) -> str:
    """An answer of the server is certain; silence is not."""
    if not mail_answers.is_refusal(error):
        reason = f"It is not known whether the mail was accepted: {mail_answers.text_of(error)}"
        return _record(delivery, State.UNKNOWN, reason)
    return _retry_or_fail(delivery, error)


def _retry_or_fail(delivery: Delivery, error: Exception) -> str:
    answer = mail_answers.text_of(error)
    return (
        _failed(delivery, answer)
        if mail_answers.is_permanent(error)
        else _try_later(delivery, answer)
    )


def _try_later(delivery: Delivery, reason: str) -> str:
    if not delivery.may_retry:
        return _failed(delivery, reason)
    queued = delivery.retry(state=State.QUEUED, reason=storable(reason), handed_over_at=None)
    return State.QUEUED if queued else ""


def _failed(delivery: Delivery, reason: str) -> str:
    return _record(delivery, State.FAILED, reason)


def _record(delivery: Delivery, state: State, reason: str = "", *, provider_id: str = "") -> str:
    sent_at = timezone.now() if state == State.SENT else None
    recorded = delivery.give_back(
        state=state, reason=storable(reason), sent_at=sent_at, provider_id=provider_id
    )
    if not recorded:
        return ""
    after_delivery.record_outcome(delivery, state, reason)
    return state


# --- Repairs


def recover(now: datetime) -> int:
    """End what a worker that died had handed over and not recorded: unknown; returns how many."""
    reason = "The worker died while the mail was handed over."
    lost = Delivery.lost(now).filter(state=State.SENDING, handed_over_at__isnull=False)
    return len([each for each in lost if _record(each, State.UNKNOWN, reason)])


def resend_failed(occurrence: Occurrence) -> int:
    """Queue the failed ones again, and no other; returns how many."""
    with transaction.atomic():
        failed = occurrence.deliveries.filter(state=State.FAILED)
        keys = list(failed.values_list("pk", flat=True))
        count = failed.filter(pk__in=keys).update(
            state=State.QUEUED, attempts=0, handed_over_at=None, try_at=None
        )
        if count:
            Occurrence.objects.filter(pk=occurrence.pk).update(
                state=Occurrence.State.SENDING, note=""
            )
        for key in keys:
            send_soon(key)
    return count
