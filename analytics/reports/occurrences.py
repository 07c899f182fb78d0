"""From a due time to content and deliveries: plan, claim, compose.

Messages between processes only wake workers up: rows decide. Whoever claims a row has it; everyone
else finds nothing to do.
"""

import logging
from datetime import datetime, timedelta
from email.utils import make_msgid, parseaddr
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from analytics.reports import after_delivery
from analytics.reports.content import compose, data_problems, scoped_tiles
from analytics.reports.messages import compose_soon, send_soon
from analytics.reports.models import Delivery, Occurrence, Recipient, Report, Schedule
from analytics.reports.permissions import refusal_of
from analytics.warehouse.errors import WarehouseError
from common.logs import log_context
from tenants.models import Tenant, User

log = logging.getLogger(__name__)

State = Occurrence.State
LOOK_AGAIN = timedelta(minutes=5)
_WORKERS_DIED = "Its workers stopped responding, before they had composed it."


# --- Planning


def plan(now: datetime) -> int:
    """An occurrence for whatever has become due; returns how many now wait to be composed.

    Of several missed while nothing ran, the latest is sent late, the others are skipped.
    """
    running = Schedule.objects.filter(
        paused_at__isnull=True,
        report__removed_at__isnull=True,
        report__tenant__is_active=True,
        planned_until__lt=now,
    )
    return sum(_plan(each, now) for each in running.select_related("report__tenant"))


@transaction.atomic
def _plan(schedule: Schedule, now: datetime) -> bool:
    due = list(schedule.timetable.between(schedule.planned_until, now))
    if not due:
        return False
    # Two planners at once: the one that moves the mark has these, the other has none of them.
    mine = Schedule.objects.filter(
        pk=schedule.pk, planned_until=schedule.planned_until, paused_at__isnull=True
    )
    if not mine.update(planned_until=now):
        return False
    reason = "Missed while no worker ran; a later one was due by then."
    *missed, latest = [Occurrence(report=schedule.report, due_at=each) for each in due]
    for each in missed:
        each.state, each.note = State.SKIPPED, reason
    Occurrence.objects.bulk_create([*missed, latest], ignore_conflicts=True)
    return True


def test(report: Report, user: User) -> Occurrence:
    """An occurrence that goes to `user` alone, now and whatever the data are like."""
    occurrence = Occurrence.objects.create(
        report=report, kind=Occurrence.Kind.TEST, due_at=timezone.now(), requested_by=user
    )
    compose_soon(occurrence)
    return occurrence


def release(occurrence: Occurrence) -> bool:
    """Let one that is held go out, with its notice; False if it is not held any more."""
    held = Occurrence.objects.filter(pk=occurrence.pk, state=State.HELD)
    if not held.update(state=State.WAITING, is_released=True, note="", try_at=None, attempts=0):
        return False
    compose_soon(occurrence)
    return True


# --- Running one


def data_arrived(tenant: Tenant, **signal: Any) -> int:
    """The tenant's pipeline has ended: what waits for data is tried now; returns how many do."""
    waiting = Occurrence.objects.filter(state=State.WAITING, report__tenant=tenant)
    waiting.update(try_at=None)
    found = list(waiting)
    for each in found:
        compose_soon(each)
    return len(found)


def to_run(now: datetime) -> QuerySet[Occurrence]:
    """What waits and is due to be tried, and what a worker began and never ended."""
    return Occurrence.free(now).filter(state__in=(State.WAITING, State.COMPOSING))


def run(occurrence_id: int) -> str:
    """Compose an occurrence and queue its deliveries, if no one else does; returns its state.

    "" if another worker has it, or it is not due.
    """
    occurrence = Occurrence.claim(to_run(timezone.now()), occurrence_id, state=State.COMPOSING)
    if occurrence is None:
        return ""
    with log_context(tenant=occurrence.report.tenant_id, occurrence=occurrence.pk):
        if occurrence.is_exhausted:
            return _end(occurrence, State.FAILED, _WORKERS_DIED)
        return _run_or_try_again(occurrence)


def _run_or_try_again(occurrence: Occurrence) -> str:
    try:
        return _run(occurrence)
    except WarehouseError as error:
        return _try_again(occurrence, f"The warehouse does not answer.\n{error}")
    except Exception as error:
        log.exception("composing %s failed", occurrence)
        return _try_again(occurrence, f"It could not be composed: {type(error).__name__}")


def _run(occurrence: Occurrence) -> str:
    refusal = refusal_of(occurrence)
    if refusal:
        return _end(occurrence, State.FAILED, refusal)
    if occurrence.content is None:
        notices = _notices(occurrence)
        if isinstance(notices, str):
            return notices
        # Pinned before anything is computed: a second attempt shows the same.
        as_of = occurrence.as_of or timezone.now()
        if not occurrence.beat(as_of=as_of):
            return ""
        content = compose(
            occurrence.report, scoped_tiles(occurrence.report), occurrence.due_at, as_of, notices
        )
        occurrence.content, occurrence.digest = content.to_json(), content.digest
        occurrence.as_of = as_of
    return _queue(occurrence)


def _notices(occurrence: Occurrence) -> list[str] | str:
    """What readers must know; or the state, if the report has to wait or is held."""
    report, now = occurrence.report, timezone.now()
    found = data_problems(report, scoped_tiles(report), now)
    deadline = occurrence.due_at + timedelta(minutes=report.wait_minutes)
    must_go = occurrence.kind == Occurrence.Kind.TEST or occurrence.is_released
    if found and not must_go:
        reason = " ".join(found)
        if now < deadline:
            note = f"Waiting for better data. {reason}"
            return _wait(occurrence, note, min(now + LOOK_AGAIN, deadline))
        if report.when_stale == Report.WhenStale.HOLD:
            return _end(occurrence, State.HELD, reason)
    late = []
    if occurrence.is_late(now):
        due = timezone.localtime(occurrence.due_at, report.tenant.zone)
        late = [f"This report was due on {due:%d %B %Y at %H:%M} and is sent late."]
    return late + [f"Please note: {each}" for each in found]


def _queue(occurrence: Occurrence) -> str:
    """Store what was composed and one delivery for each recipient, at once or not at all."""
    with transaction.atomic():
        stored = occurrence.give_back(
            state=State.SENDING,
            note="",
            as_of=occurrence.as_of,
            content=occurrence.content,
            digest=occurrence.digest,
        )
        if not stored:
            return ""
        Delivery.objects.bulk_create(_deliveries(occurrence), ignore_conflicts=True)
        queued = Delivery.objects.filter(occurrence=occurrence, state=Delivery.State.QUEUED)
        for key in queued.values_list("pk", flat=True):
            send_soon(key)
    return after_delivery.finish_if_all_ended(occurrence)


def _deliveries(occurrence: Occurrence) -> list[Delivery]:
    if occurrence.kind == Occurrence.Kind.TEST:
        recipients = [Recipient(user=occurrence.requested_by)]
    else:
        recipients = list(occurrence.report.recipients.select_related("user"))
    by_address = {each.mail_address.lower(): each for each in recipients if each.mail_address}
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2]
    return [
        Delivery(
            occurrence=occurrence,
            user=each.user,
            is_member=each.user is not None,
            address=each.mail_address,
            message_id=make_msgid(f"report-{occurrence.pk}", domain),
        )
        for each in by_address.values()
    ]


# --- Ends


def _end(occurrence: Occurrence, state: State, note: str) -> str:
    if not occurrence.give_back(state=state, note=note):
        return ""
    after_delivery.update_alert(occurrence, state, note)
    return state


def _wait(occurrence: Occurrence, note: str, until: datetime) -> str:
    waiting = occurrence.give_back(state=State.WAITING, note=note, try_at=until, attempts=0)
    return State.WAITING if waiting else ""


def _try_again(occurrence: Occurrence, reason: str) -> str:
    """Wait, longer each time, for about an hour in all; then it has failed."""
    if not occurrence.may_retry:
        return _end(occurrence, State.FAILED, reason)
    waiting = occurrence.retry(state=State.WAITING, note=reason)
    return State.WAITING if waiting else ""
