"""One turn of a tenant's pipeline: schema, files, loads, integrity, readers.

The run's row shows at which step it is; whoever claims it goes on from there. Each step may be done
twice: a worker that dies is followed by another, which begins the step anew.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from analytics.warehouse import schema
from analytics.warehouse.catalog import TABLES, Table
from analytics.warehouse.errors import WarehouseError
from common.heartbeat import beating
from common.leases import is_silent
from common.logs import log_context
from common.texts import storable
from loaders.history import compaction, integrity
from loaders.jobs import queue
from loaders.lake.discovery import Found, discover, home_of, without_files
from loaders.lake.s3 import Lake, LakeError, NoFiles
from loaders.messages import advance_soon
from loaders.models import LoadedFile, LoadJob, PipelineRun
from tenants import alerting
from tenants.access import active_tenants
from tenants.models import Alert, Tenant, User
from tenants.signals import data_arrived

log = logging.getLogger(__name__)

State, Step, Kind = PipelineRun.State, PipelineRun.Step, PipelineRun.Kind
# A worker is woken again for a run that none took for this long.
WAKE_AGAIN = timedelta(minutes=2)
SUBJECT = "pipeline"
_NO_FILES = "no files"
_OUTAGES = (WarehouseError, LakeError, OperationalError, InterfaceError)


class RunRefused(Exception):
    """The run was not queued; the text is the reason."""


class _Overtaken(Exception):
    """The run was canceled, or another worker has taken it up."""


class PipelineFailed(Exception):
    """The run cannot go on as things are. The text is what to do."""


def request_run(
    tenant: Tenant,
    trigger: PipelineRun.Trigger,
    kind: PipelineRun.Kind = Kind.INCREMENTAL,
    *,
    dry_run: bool = False,
    requested_by: User | None = None,
    planned_for: datetime | None = None,
) -> PipelineRun:
    """Queue a run. RunRefused if the tenant is suspended or has an active run."""
    if not tenant.is_active:
        raise RunRefused(f"{tenant} is suspended, so nothing is loaded for it.")
    try:
        with transaction.atomic():
            run = PipelineRun.objects.create(
                tenant=tenant,
                trigger=trigger,
                kind=kind,
                dry_run=dry_run,
                requested_by=requested_by,
                planned_for=planned_for,
                woken_at=timezone.now(),
            )
    except IntegrityError as error:
        raise RunRefused(f"A pipeline run of {tenant.id} is already active.") from error
    advance_soon(run.pk)
    return run


def cancel(run: PipelineRun, reason: str = "") -> bool:
    """Cancel an active run and its loads, as far as readers do not see them yet."""
    with transaction.atomic():
        active = PipelineRun.objects.filter(pk=run.pk, state__in=PipelineRun.ACTIVE)
        canceled = active.update(
            state=State.CANCELED, finished_at=timezone.now(), claimed_at=None, error=reason
        )
        if not canceled:
            return False
        for job in run.jobs.filter(state__in=LoadJob.ACTIVE):
            queue.cancel(job, f"With pipeline run {run.pk}. {reason}".strip())
        _sum_up(run)
        PipelineRun.objects.filter(pk=run.pk).update(
            rows_loaded=run.rows_loaded, rows_rejected=run.rows_rejected
        )
        _tell_readers(run, [])
    return True


def sweep() -> int:
    """Wake workers for runs that no worker has, and end those of suspended tenants."""
    for run in PipelineRun.objects.filter(
        state__in=PipelineRun.ACTIVE, tenant__is_active=False
    ).select_related("tenant"):
        cancel(run, "The tenant was suspended.")
    alerting.end_those_of_suspended()
    now = timezone.now()
    was_long_ago = Q(woken_at=None) | is_silent("woken_at", now, WAKE_AGAIN)
    waiting = list(due().filter(was_long_ago).values_list("pk", flat=True))
    PipelineRun.objects.filter(pk__in=waiting).update(woken_at=now)
    for run_id in waiting:
        advance_soon(run_id)
    return len(waiting)


def due() -> QuerySet[PipelineRun]:
    """Active runs that a worker may take."""
    free = PipelineRun.free(timezone.now())
    return free.filter(state__in=PipelineRun.ACTIVE, tenant__in=active_tenants())


def advance(run_id: int) -> str | None:
    """Go on with a run as far as it goes now; its state, or None if it was not ours to take."""
    run = claim(run_id)
    if run is None:
        return None
    seconds = run.lease().total_seconds() / 6
    with log_context(tenant=run.tenant_id, run=run.pk), beating(run.beat, seconds):
        if run.is_exhausted:
            return _fail(run, f"{run.attempts} workers stopped responding at this step.")
        return _advance(run)


def claim(run_id: int) -> PipelineRun | None:
    started_at = Coalesce(F("started_at"), timezone.now())
    return PipelineRun.claim(due(), run_id, state=State.RUNNING, started_at=started_at)


def _advance(run: PipelineRun) -> str | None:
    while True:
        note = _note(run)
        try:
            message = STEPS[run.step](run)
        except PipelineFailed as error:
            return _fail(run, str(error))
        except _Overtaken:
            return None
        except _OUTAGES as error:
            return _try_again(run, error)
        except Exception as error:
            log.exception("pipeline run %s failed in an unforeseen way", run.pk)
            return _fail(run, f"Unforeseen: {type(error).__name__}: {error}")
        if message is None:
            return _wait(run)
        note |= {"ended": timezone.now().isoformat(), "message": message}
        if run.step == Step.TELL:
            return _end(run)
        run.step = _AFTER[run.step]
        run.attempts, run.error = 0, ""
        _note(run)  # so that staff see since when it is at it
        if not run.beat(step=run.step, attempts=0, **_record(run)):
            return None


def _note(run: PipelineRun) -> dict[str, Any]:
    """What the run's record has of the step that it is at."""
    note: dict[str, Any] = run.steps.setdefault(run.step, {"began": timezone.now().isoformat()})
    return note


# --- Ways to stop


def _wait(run: PipelineRun) -> str | None:
    """Until its loads have ended, which wakes a worker for it."""
    waits = run.give_back(steps=run.steps, attempts=0, woken_at=timezone.now())
    if waits and not _loads_under_way(run):  # the last one ended meanwhile and found us claimed
        advance_soon(run.pk)
    return State.RUNNING if waits else None


def _try_again(run: PipelineRun, error: Exception) -> str | None:
    """A part is away: later and later, for some minutes; the next run on schedule follows anyway.

    The database itself may be what is away: then the sweep finds the run when it is back.
    """
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()
    if not run.may_retry:
        return _fail(run, str(error))
    log.warning("pipeline run %s is tried again: %s", run.pk, error)
    waits = run.retry(steps=run.steps, error=storable(error), woken_at=None)
    return State.RUNNING if waits else None


def _fail(run: PipelineRun, reason: str) -> str | None:
    run.error = storable(reason)
    _note(run).update(ended=timezone.now().isoformat(), message=run.error)
    with transaction.atomic():
        if not _ended(run, State.FAILED):
            return None
        _tell_readers(run, [])
        if not run.dry_run:
            text = f"{run}, {run.get_step_display()}: {reason}"
            alerting.raise_alert(Alert.Kind.PIPELINE, run.tenant_id, SUBJECT, text)
    return State.FAILED


def _end(run: PipelineRun) -> str | None:
    """All steps are done: it has failed if one of its loads has, which raised its own alert."""
    problems = [
        f"{job.table}: {job.error or job.get_state_display()}"
        for job in run.jobs.order_by("table")
        if job.state != LoadJob.State.SUCCEEDED
    ]
    held = run.steps[Step.LOOK].get("held", {})
    problems += [f"{table}: {reason}" for table, reason in held.items()]
    run.error = storable("\n".join(problems))
    state = State.FAILED if problems else State.SUCCEEDED
    with transaction.atomic():
        if not _ended(run, state):
            return None
        if not run.dry_run:
            alerting.all_clear(Alert.Kind.PIPELINE, run.tenant_id, SUBJECT)
    return state


def _ended(run: PipelineRun, state: PipelineRun.State) -> bool:
    return run.give_back(state=state, finished_at=timezone.now(), **_record(run))


def _record(run: PipelineRun) -> dict[str, Any]:
    """What its steps found, for the row: another worker may go on with it."""
    names = ("steps", "error", "rows_loaded", "rows_rejected", "faults")
    return {name: getattr(run, name) for name in names}


# --- The steps: each returns its message when it is done, or None if it has to wait


def _check_schema(run: PipelineRun) -> str:
    changes = schema.plan()
    if changes:
        raise PipelineFailed(
            f"The warehouse is not as declared ({changes[0]}"
            f"{', …' if len(changes) > 1 else ''}). Run: manage.py warehouse_schema apply"
        )
    return "As declared."


def _look(run: PipelineRun) -> str:
    """Queue a load of each table that has something new. PipelineFailed if there is no file."""
    lake = Lake()
    found, held = {}, {}
    asked = dict(run.jobs.values_list("table", "pk"))
    for name, table in TABLES.items():
        if name in asked:  # by a worker that died before it could record it
            found[name] = f"load {asked[name]}"
            continue
        try:
            objects = discover(lake, run.tenant, table)
        except NoFiles:
            found[name] = _NO_FILES
            if not run.dry_run:
                alerting.all_clear(Alert.Kind.LOAD, run.tenant_id, name)
            continue
        # A refresh loads every table, whatever became of the last load.
        last = _last_load(run, table) if run.kind == Kind.INCREMENTAL else None
        if last and _is_stuck(last, objects):
            found[name], held[name] = "held", _hold(run, last)
        elif last and _is_known(last, objects):
            found[name] = "nothing new"
        else:
            found[name] = _request(run, table)
    if set(found.values()) == {_NO_FILES}:
        raise PipelineFailed(without_files(lake, home_of(run.tenant)))
    run.steps[Step.LOOK]["held"] = held
    return "; ".join(f"{name}: {message}" for name, message in found.items())


def _is_stuck(last: LoadJob, found: Found) -> bool:
    """Whether loading again would only fail again."""
    return last.needs_person and last.listing == found.listing


def _hold(run: PipelineRun, stuck: LoadJob) -> str:
    """Why its table is not loaded. Its alert may have ended when the tenant was suspended."""
    if not run.dry_run:
        text = f"{stuck}: {stuck.error}"
        alerting.raise_alert(Alert.Kind.LOAD, run.tenant_id, stuck.table, text)
    return (
        f"Load {stuck.pk} failed and the files are still the same. It needs a person: see its "
        "reason, correct the files upstream or load again by hand."
    )


def _is_known(last: LoadJob, found: Found) -> bool:
    """Whether the last load succeeded with just these files, and there is none that an incremental
    load would look at again: that is young, or was refused by the lake.
    """
    return (
        last.state == LoadJob.State.SUCCEEDED
        and last.listing == found.listing
        and not found.has_recent_files
        and not last.files.filter(state=LoadedFile.State.REFUSED).exists()
    )


def _last_load(run: PipelineRun, table: Table) -> LoadJob | None:
    ended = LoadJob.objects.filter(tenant=run.tenant, table=table.name, dry_run=False).exclude(
        Q(kind=LoadJob.Kind.REPAIR) | Q(state__in=LoadJob.ACTIVE)
    )
    return ended.order_by("-pk").first()


def _request(run: PipelineRun, table: Table) -> str:
    kind = LoadJob.Kind(run.kind)
    try:
        with transaction.atomic():
            # Also waits for a person who is about to cancel the run.
            if not run.beat():
                raise _Overtaken
            job = queue.request_load(
                run.tenant,
                table,
                kind,
                requested_by=run.requested_by,
                dry_run=run.dry_run,
                pipeline=run,
            )
            if not run.dry_run:
                Tenant.objects.filter(pk=run.tenant_id, loading_since=None).update(
                    loading_since=timezone.now()
                )
    except queue.LoadRefused as error:
        return str(error)
    return f"load {job.pk}"


def _await_loads(run: PipelineRun) -> str | None:
    if _loads_under_way(run):
        return None
    done = _sum_up(run)
    changed = ", ".join(_changed_tables(run)) or "nothing"
    return f"{done} of {run.jobs.count()} loads succeeded; changed: {changed}."


def _sum_up(run: PipelineRun) -> int:
    """Note the rows of its loads that succeeded; returns how many those are."""
    done = run.jobs.filter(state=LoadJob.State.SUCCEEDED)
    sums = done.aggregate(
        loads=Count("pk"), loaded=Sum("rows_loaded"), rejected=Sum("rows_rejected")
    )
    run.rows_loaded, run.rows_rejected = sums["loaded"] or 0, sums["rejected"] or 0
    return int(sums["loads"])


def _loads_under_way(run: PipelineRun) -> bool:
    return LoadJob.objects.filter(tenant_id=run.tenant_id, state__in=LoadJob.ACTIVE).exists()


def _changed_tables(run: PipelineRun) -> list[str]:
    """Tables of which readers see something new."""
    changes = Q()
    for name in LoadJob.CHANGES:
        changes |= Q(**{f"{name}__gt": 0})
    done = run.jobs.filter(changes, state=LoadJob.State.SUCCEEDED, dry_run=False)
    return list(done.order_by("table").values_list("table", flat=True))


def _check_integrity(run: PipelineRun) -> str:
    if run.dry_run:
        return _try_integrity(run)
    tables = _changed_tables(run)
    if not tables:
        return "Nothing changed."
    for job in run.jobs.filter(table__in=tables):
        if queue.may_have_leftovers(job):  # which the check would find, though no reader does
            compaction.tidy(run.tenant, TABLES[job.table], job.pk)
    checks = [integrity.check(run.tenant, TABLES[name]) for name in tables]
    run.faults = sum(not each.is_sound for each in checks)
    return "; ".join(
        f"{each.table}: {'sound' if each.is_sound else 'not sound'}" for each in checks
    )


def _try_integrity(run: PipelineRun) -> str:
    """What is stored now, without recording it or notifying anyone."""
    names = run.jobs.order_by("table").values_list("table", flat=True)
    states = []
    for name in names:
        versions, _, faults = integrity.find_faults(run.tenant, TABLES[name])
        state = "sound" if versions else "nothing yet"
        states.append(f"{name}: {'not sound' if faults else state}")
    return f"As stored now: {'; '.join(states)}." if states else "Nothing was looked at."


def _tell(run: PipelineRun) -> str:
    tables = _changed_tables(run)
    _tell_readers(run, tables)
    versions = {job.table: job.pk for job in run.jobs.order_by("pk")}
    seen = ", ".join(f"{name} as of load {versions[name]}" for name in tables)
    return f"Readers see {seen}." if seen else "Readers see what they saw before."


def _tell_readers(run: PipelineRun, tables: list[str]) -> None:
    """Reports that wait for data need wait no longer. Kept answers need no word: each is kept
    under the loads that it rests on.
    """
    if run.dry_run:
        return
    Tenant.objects.filter(pk=run.tenant_id).update(loading_since=None)
    for receiver, error in data_arrived.send_robust(
        sender=PipelineRun, tenant=run.tenant, tables=tables
    ):
        if isinstance(error, Exception):
            log.error("%s was not notified of run %s: %s", receiver, run.pk, error)


STEPS: dict[str, Callable[[PipelineRun], str | None]] = {
    Step.SCHEMA: _check_schema,
    Step.LOOK: _look,
    Step.LOAD: _await_loads,
    Step.INTEGRITY: _check_integrity,
    Step.TELL: _tell,
}
_AFTER: dict[str, Any] = dict(zip(list(STEPS), list(STEPS)[1:], strict=False))
