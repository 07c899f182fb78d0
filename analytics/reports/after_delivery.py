"""What follows from how deliveries ended: the end of an occurrence, alerts, a pause."""

import logging
import smtplib

from anymail.exceptions import AnymailError
from django.utils import timezone

from analytics.reports import mails
from analytics.reports.models import FAILURES_THAT_PAUSE, Delivery, Occurrence, Report, Schedule
from tenants import alerting
from tenants.models import Alert

log = logging.getLogger(__name__)

State = Occurrence.State
FAULTS = (Delivery.State.FAILED, Delivery.State.BOUNCED, Delivery.State.UNKNOWN)


def record_outcome(delivery: Delivery, state: str, reason: str) -> None:
    """What follows from a new state: an alert for a fault at once, and the occurrence's end."""
    occurrence = delivery.occurrence
    if state in FAULTS and occurrence.kind == Occurrence.Kind.SCHEDULED:
        report = occurrence.report
        text = f"{delivery}: {state}. {reason}"
        alerting.raise_alert(Alert.Kind.REPORT, report.tenant_id, f"report {report.pk}", text)
    finish_if_all_ended(occurrence)


def finish_abandoned() -> int:
    """End occurrences whose last delivery ended while its worker died; returns how many."""
    unsettled = Occurrence.objects.filter(state=State.SENDING).exclude(
        deliveries__state__in=Delivery.OPEN
    )
    found = unsettled.select_related("report__tenant", "report__owner").defer("content")
    return len([finish_if_all_ended(each) for each in found])


def finish_if_all_ended(occurrence: Occurrence) -> str:
    """Once no delivery is open: done, or failed if mails were to go out and none arrived."""
    states = list(occurrence.deliveries.values_list("state", flat=True))
    if any(state in Delivery.OPEN for state in states):
        return State.SENDING
    reached = {Delivery.State.SENT, Delivery.State.UNKNOWN}
    lost = {Delivery.State.FAILED, Delivery.State.BOUNCED}
    if not states:
        state, note = State.FAILED, "It has no recipient with a mail address."
    elif lost.intersection(states) and not reached.intersection(states):
        state, note = State.FAILED, "It reached no one."
    else:
        state, note = State.DONE, ""
    after_sending = [State.SENDING, State.DONE, State.FAILED]
    Occurrence.objects.filter(pk=occurrence.pk, state__in=after_sending).update(
        state=state, note=note
    )
    update_alert(occurrence, state, note)
    return state


def update_alert(occurrence: Occurrence, state: str, note: str) -> None:
    """An alert while reports fail or are held; after the fifth in a row the schedule pauses."""
    if occurrence.kind == Occurrence.Kind.TEST:
        return
    report = occurrence.report
    subject = f"report {report.pk}"
    faults = occurrence.deliveries.filter(state__in=FAULTS)
    if state in (State.FAILED, State.HELD) or faults:
        facts = [note, *(f"{each.address}: {each.state}. {each.reason}" for each in faults[:20])]
        text = "\n".join([f"{occurrence}: {state}.", *filter(None, facts)])
        alerting.raise_alert(Alert.Kind.REPORT, report.tenant_id, subject, text)
    else:
        alerting.all_clear(Alert.Kind.REPORT, report.tenant_id, subject)
    if state == State.FAILED:
        pause_if_hopeless(report)


def pause_if_hopeless(report: Report) -> bool:
    """Pause a schedule whose last occurrences all failed, and notify the owner."""
    ended = report.occurrences.filter(kind=Occurrence.Kind.SCHEDULED).exclude(
        state=Occurrence.State.SKIPPED
    )
    last = list(ended.order_by("-due_at").values_list("state", flat=True)[:FAILURES_THAT_PAUSE])
    if last != [Occurrence.State.FAILED] * FAILURES_THAT_PAUSE:
        return False
    running = Schedule.objects.filter(report=report, paused_at__isnull=True)
    reason = mails.pause_reason()
    if not running.update(paused_at=timezone.now(), pause_reason=reason):
        return False
    owner = report.owner
    if owner is not None and owner.is_active and owner.email:
        mail = mails.schedule_paused_mail(Schedule.objects.get(report=report), owner.email)
        try:
            mail.send()
        except (smtplib.SMTPException, OSError, AnymailError) as error:
            log.warning("the owner of %s was not notified that it is paused: %s", report, error)
    return True
