"""What may happen to a load job. The database decides every race; messages only wake workers.

queued -> running -> succeeded | failed | canceled; running -> queued again for a retry.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from analytics.warehouse.catalog import Table
from analytics.warehouse.client import kill
from analytics.warehouse.errors import WarehouseError
from common.locks import exclusive
from common.texts import storable
from loaders.lake.results import FileOutcome, LoadResult, VersionCounts
from loaders.messages import tell_pipeline, wake_loader
from loaders.models import LoadedFile, LoadJob, PipelineRun
from loaders.staging.scratch_tables import label_of
from tenants import alerting
from tenants.access import active_tenants
from tenants.models import Alert, Tenant, User

log = logging.getLogger(__name__)

NAMES_KEPT = 200
_SUSPENDED = "The tenant was suspended."


class LoadRefused(Exception):
    """The load was not queued; the text is the reason."""


def request_load(
    tenant: Tenant,
    table: Table,
    kind: LoadJob.Kind = LoadJob.Kind.INCREMENTAL,
    requested_by: User | None = None,
    vanished: LoadJob.Vanished = LoadJob.Vanished.CLOSE_IF_FEW,
    vanished_limit: int = LoadJob.VANISHED_LIMIT,
    dry_run: bool = False,
    pipeline: PipelineRun | None = None,
) -> LoadJob:
    """Queue a load. LoadRefused if the tenant is suspended or a load of the table is active.

    `vanished` and `vanished_limit` (percent) say what a full refresh does with keys that are gone;
    `dry_run` that it only finds out what it would do.
    """
    if not tenant.is_active:
        raise LoadRefused(f"{tenant} is suspended, so nothing is loaded for it.")
    if not 1 <= vanished_limit <= 100:
        raise LoadRefused(f"{vanished_limit} percent is no limit: choose one from 1 to 100.")
    try:
        with transaction.atomic():
            job = LoadJob.objects.create(
                tenant=tenant,
                table=table.name,
                kind=kind,
                requested_by=requested_by,
                vanished=vanished,
                vanished_limit=vanished_limit,
                dry_run=dry_run,
                pipeline=pipeline,
            )
    except IntegrityError as error:
        raise LoadRefused(f"A load of {tenant.id}/{table.name} is already active.") from error
    wake_loader()
    return job


def claim(job_id: int) -> LoadJob | None:
    """Make a queued job ours and running; None if it is not queued (any more) or not yet due."""
    return LoadJob.claim(
        due(),
        job_id,
        state=LoadJob.State.RUNNING,
        started_at=timezone.now(),
        step="Starting",
        percent=0,
        bytes_done=0,
        rows_read=0,
        error="",
    )


def claim_next() -> LoadJob | None:
    """Claim the queued job whose turn it is; None if there is none, or enough are running.

    At most LOADS_AT_ONCE run, and LOADS_PER_TENANT of one tenant. It is the turn of the tenant of
    which the fewest are running; among those, of the job that waits longest.
    """
    with exclusive("claim a load"):
        running = Counter(
            LoadJob.objects.filter(state=LoadJob.State.RUNNING).values_list("tenant_id", flat=True)
        )
        if running.total() >= settings.LOADS_AT_ONCE:
            return None
        for count in range(settings.LOADS_PER_TENANT):
            busy = [tenant_id for tenant_id, number in running.items() if number == count]
            whose = Q(tenant_id__in=busy) if count else ~Q(tenant_id__in=list(running))
            job = due().filter(whose).order_by("requested_at", "pk").first()
            if job is not None:
                return claim(job.pk)
    return None


def due() -> QuerySet[LoadJob]:
    """Queued jobs that may run now."""
    free = LoadJob.free(timezone.now())
    return free.filter(state=LoadJob.State.QUEUED, tenant__in=active_tenants())


def wake_for_queued() -> int:
    """Wake a loader for each due job that could run at once; returns how many."""
    running = LoadJob.objects.filter(state=LoadJob.State.RUNNING).count()
    free = max(0, settings.LOADS_AT_ONCE - running)
    count = due()[:free].count() if free else 0
    for _ in range(count):
        wake_loader()
    return count


def commit(job: LoadJob) -> bool:
    """Pass the point of no return: from here on the job cannot be canceled.

    False if the job is no longer this run's, or its tenant was suspended meanwhile.
    """
    now = timezone.now()
    ours = job.ours().filter(tenant__in=active_tenants())
    return bool(ours.update(publishing_began_at=now, claimed_at=now))


def succeed(job: LoadJob, result: LoadResult) -> bool:
    """Record the end of a run that loaded. False if the job is no longer this run's."""
    with transaction.atomic():
        done = job.give_back(
            state=LoadJob.State.SUCCEEDED,
            finished_at=timezone.now(),
            step="",
            error="",
            percent=100,
            bytes_done=F("bytes_found"),
            needs_person=False,
        )
        if done:
            _record(job, result, loaded=True)
            if not job.dry_run and job.kind != LoadJob.Kind.REPAIR:
                _end_alert(job, result.refusals)
            tell_pipeline(job)
    return done


def _end_alert(job: LoadJob, refusals: list[str]) -> None:
    """That of failed loads; an alert about files that the lake refuses stays as long as it does."""
    if refusals:
        missing = "1 file is" if len(refusals) == 1 else f"{len(refusals):,} files are"
        text = f"{job}: {missing} missing. {refusals[0]}"
        alerting.raise_alert(Alert.Kind.LOAD, job.tenant_id, job.table, text)
    else:
        alerting.all_clear(Alert.Kind.LOAD, job.tenant_id, job.table)


def _record(job: LoadJob, result: LoadResult, *, loaded: bool) -> None:
    """Note what a run found: its counts and its files; if it failed, only those quarantined."""
    LoadJob.objects.filter(pk=job.pk).update(
        rows_read=result.rows_read,
        rows_rejected=result.rows_rejected,
        rows_loaded=result.rows_loaded if loaded else 0,
        **asdict(result.versions if loaded else VersionCounts()),
        listing=result.listing,
        columns=_storable_json(result.columns),
        notes=[storable(note) for note in result.notes],
        unknown_columns=[storable(name) for name in result.unknown_columns[:NAMES_KEPT]],
    )
    job.files.all().delete()
    files = [
        LoadedFile(
            job=job,
            bucket=found.bucket,
            key=found.key,
            etag=found.etag,
            size=found.size,
            last_modified=found.last_modified,
            state=_state_of(outcome),
            rows_read=outcome.rows_read,
            rows_rejected=outcome.rows_rejected,
            rows_in_file=outcome.rows_in_file,
            error=storable(outcome.error),
        )
        for found, outcome in result.files.items()
        if loaded or outcome.error
    ]
    LoadedFile.objects.bulk_create(files, batch_size=1000)


def _state_of(outcome: FileOutcome) -> LoadedFile.State:
    if outcome.is_refused:
        return LoadedFile.State.REFUSED
    return LoadedFile.State.QUARANTINED if outcome.error else LoadedFile.State.LOADED


def _storable_json(value: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    return {
        form: {storable(name): storable(kind) for name, kind in columns.items()}
        for form, columns in value.items()
    }


def may_have_leftovers(job: LoadJob) -> bool:
    """Whether earlier runs, of this job or the one before it, may have left rows unseen."""
    if job.claims > 1:
        return True
    before = LoadJob.objects.filter(tenant_id=job.tenant_id, table=job.table, pk__lt=job.pk)
    state = before.order_by("-pk").values_list("state", flat=True).first()
    return state in (LoadJob.State.FAILED, LoadJob.State.CANCELED)


def fail(
    job: LoadJob,
    reason: str,
    *,
    may_retry: bool,
    is_own_fault: bool = True,
    result: LoadResult | None = None,
) -> LoadJob.State | None:
    """End a run that failed: queued again, to wait, while attempts are left, else failed.

    What failed for good needs a person, unless it was not its own fault: then it is tried again
    with the next pipeline. `result` is what it had found by then. Returns the new state, or None if
    the job is no longer this run's.
    """
    retry = may_retry and job.may_retry
    with transaction.atomic():
        if not (_try_again(job, reason) if retry else _give_up(job, reason, is_own_fault)):
            return None
        if result is not None:
            _record(job, result, loaded=False)
    return LoadJob.State.QUEUED if retry else LoadJob.State.FAILED


def _try_again(job: LoadJob, reason: str) -> bool:
    return job.retry(state=LoadJob.State.QUEUED, step="", error=storable(reason))


def _give_up(job: LoadJob, reason: str, needs_person: bool) -> bool:
    ended = job.give_back(
        state=LoadJob.State.FAILED,
        finished_at=timezone.now(),
        step="",
        error=storable(reason),
        needs_person=needs_person,
    )
    if ended:
        if not job.dry_run:
            alerting.raise_alert(Alert.Kind.LOAD, job.tenant_id, job.table, f"{job}: {reason}")
        tell_pipeline(job)
    return ended


def cancel(job: LoadJob, reason: str = "") -> bool:
    """Cancel a job, unless it is past the point where readers may see its rows.

    Its statement under way is ended. Without that, the run would stop after it all the same.
    """
    active = LoadJob.objects.filter(pk=job.pk, state__in=LoadJob.ACTIVE)
    canceled = active.filter(publishing_began_at__isnull=True).update(
        state=LoadJob.State.CANCELED,
        claimed_at=None,
        finished_at=timezone.now(),
        step="",
        error=storable(reason),
    )
    if canceled:
        job.refresh_from_db()
        transaction.on_commit(lambda: _kill_statements(job))
        tell_pipeline(job)
    return bool(canceled)


def cancel_if_suspended(job: LoadJob) -> bool:
    """What a suspension stopped has not failed. False if the tenant is active."""
    is_suspended = Tenant.objects.filter(pk=job.tenant_id, is_active=False).exists()
    return is_suspended and cancel(job, _SUSPENDED)


def _kill_statements(job: LoadJob) -> None:
    try:
        kill(label_of(job.pk, job.claims))
    except WarehouseError as error:
        log.warning("the statements of load job %s were not ended: %s", job.pk, error)


def sweep() -> int:
    """Repair what crashes and lost messages left behind; returns how many jobs it touched.

    Running jobs without a heartbeat are failed or queued again; loaders are woken for queued ones,
    and those of suspended tenants are canceled.
    """
    touched = 0
    for job in LoadJob.objects.filter(state__in=LoadJob.ACTIVE, tenant__is_active=False):
        touched += cancel(job, _SUSPENDED)
    for job in LoadJob.lost(timezone.now()).filter(state=LoadJob.State.RUNNING):
        reason = f"The worker of attempt {job.claims} stopped responding."
        touched += fail(job, reason, may_retry=True) is not None
    return touched + wake_for_queued()
