"""A download from the request to its file, its mail and its end.

Rows decide, messages only wake workers: the sweep sends lost ones again. A worker that was given up
changes nothing any more, and the file that it made is deleted.
"""

import logging
from datetime import datetime, timedelta
from typing import IO

from django.conf import settings
from django.core.files import File
from django.core.files.storage import Storage, storages
from django.core.mail import get_connection
from django.db.models import QuerySet
from django.http import QueryDict
from django.utils import timezone

from analytics.downloads import mails
from analytics.downloads.models import Download
from analytics.periods import PeriodError
from analytics.records import listing
from analytics.views.records import listing_of
from analytics.views.source_lines import records_line
from analytics.warehouse.catalog import TABLES
from analytics.warehouse.errors import WarehouseError
from analytics.warehouse.exports import ExportRefused, ExportStopped
from common import mail_answers
from common.leases import is_silent
from common.locks import exclusive
from common.logs import log_context
from common.messages import send_after_commit
from common.texts import storable
from tenants.models import Membership, Tenant, User

log = logging.getLogger(__name__)

State = Download.State
MAX_OPEN = 5  # of one user
ORPHAN_AGE = timedelta(hours=1)  # far longer than it takes to record a file that was stored
_WORKERS_DIED = "The workers that prepared it stopped. Ask for it again."


class TooManyDownloads(ValueError):
    """The user has enough of them in preparation."""


def storage() -> Storage:
    return storages["downloads"]


# --- Actions of users


def order(tenant: Tenant, user: User, table: str, kind: str, query: str, rows: int) -> Download:
    """Queue a download. One that is open already is not made twice. Raises TooManyDownloads."""
    with exclusive("downloads"):
        mine = Download.objects.filter(tenant=tenant, user=user, state__in=Download.OPEN)
        same = mine.filter(table=table, kind=kind, query=query).first()
        if same is not None:
            return same
        if mine.count() >= MAX_OPEN:
            raise TooManyDownloads(
                f"{MAX_OPEN} of your downloads are in preparation. Wait for one, or cancel it."
            )
        made = Download.objects.create(
            tenant=tenant, user=user, table=table, kind=kind, query=query, rows=rows
        )
        _run_soon(made.pk)
    return made


def cancel(download: Download) -> bool:
    """Stop it; False if it has ended already. Its worker notices within seconds."""
    open_one = Download.objects.filter(pk=download.pk, state__in=Download.OPEN)
    return bool(open_one.update(state=State.CANCELED, claimed_at=None, ended_at=timezone.now()))


# --- Making the file


def to_run(now: datetime) -> QuerySet[Download]:
    """What waits, and what a worker began and never ended, the oldest first."""
    return Download.free(now).filter(state__in=Download.OPEN).order_by("created_at", "pk")


def run(key: int) -> str:
    """Make one file, if it is there to be made; returns its state, "" if it was not."""
    download = _claim(key)
    if download is None:
        return ""
    with log_context(tenant=download.tenant_id, download=download.pk):
        state = _failed(download, _WORKERS_DIED) if download.is_exhausted else _make(download)
    following = to_run(timezone.now()).first()
    if following is not None and following.pk != key:
        _run_soon(following.pk)
    return state


def _claim(key: int) -> Download | None:
    """Only so many run at once, so that loads and reports find a worker."""
    with exclusive("downloads"):
        now = timezone.now()
        running = Download.objects.filter(state=State.RUNNING, claimed_at__isnull=False)
        others = running.exclude(is_silent("claimed_at", now, Download.lease())).exclude(pk=key)
        if others.count() >= settings.DOWNLOADS_AT_ONCE:
            return None
        return Download.claim(to_run(now), key, state=State.RUNNING, progress=0)


def _make(download: Download) -> str:
    if not may_have(download):
        return _failed(download, "You are not a member of this tenant.")
    try:
        with _file_of(download) as file:
            return _store(download, file)
    except ExportStopped:
        return ""
    except (ExportRefused, listing.ListingError, PeriodError) as refusal:
        return _failed(download, str(refusal))
    except WarehouseError:
        log.exception("%s could not be read", download)
        return _try_again(download, "The warehouse does not answer.")
    except Exception:
        log.exception("%s failed", download)
        return _try_again(download, "It could not be made.")


def may_have(download: Download) -> bool:
    """Whether the user is still an active member of the tenant, and the tenant is active."""
    return Membership.objects.filter(
        tenant=download.tenant_id,
        tenant__is_active=True,
        user=download.user_id,
        user__is_active=True,
    ).exists()


def _file_of(download: Download) -> IO[bytes]:
    tenant = download.tenant
    with timezone.override(tenant.zone):
        wanted = listing_of(QueryDict(download.query), tenant, TABLES[download.table])
        about = records_line(tenant, wanted)

        def watch(rows: int) -> bool:
            return download.beat(progress=rows)

        return listing.table_file(tenant, wanted, download.kind, about, watch)


def _store(download: Download, file: IO[bytes]) -> str:
    name = f"{download.tenant_id}/{download.pk}-{download.claims}.{download.kind}"
    made = File(file)
    size = made.size
    stored = storage().save(name, made)
    ended = download.give_back(
        state=State.READY,
        file=stored,
        size=size,
        progress=download.rows,
        attempts=0,
        try_at=None,
        ended_at=timezone.now(),
        is_mail_due=True,
    )
    if not ended:  # it was canceled meanwhile, or another worker has it
        storage().delete(stored)
        return ""
    _mail_soon(download.pk)
    return State.READY


def _try_again(download: Download, reason: str) -> str:
    if not download.may_retry:
        return _failed(download, f"{reason} Ask for it again later.")
    return State.QUEUED if download.retry(state=State.QUEUED) else ""


def _failed(download: Download, reason: str) -> str:
    ended = download.give_back(
        state=State.FAILED,
        note=storable(reason),
        attempts=0,
        try_at=None,
        ended_at=timezone.now(),
        is_mail_due=True,
    )
    if not ended:
        return ""
    _mail_soon(download.pk)
    return State.FAILED


# --- The mail


def to_mail(now: datetime) -> QuerySet[Download]:
    """What has ended without its mail, unless that was handed over already."""
    ended = Download.free(now).filter(state__in=Download.ENDED, is_mail_due=True)
    return ended.filter(handed_over_at=None)


def mail(key: int) -> bool:
    """Send the mail about the end of a download, if it is there to be sent and still allowed."""
    download = Download.claim(to_mail(timezone.now()), key)
    if download is None:
        return False
    if download.is_exhausted or not download.user.email or not may_have(download):
        download.give_back(is_mail_due=False)
        return False
    connection = get_connection()
    try:
        connection.open()
        # The last write before the first byte: from here on no worker may try again by itself.
        if not download.beat(handed_over_at=timezone.now()):
            return False
        connection.send_messages([mails.download_ended(download)])
    except Exception as error:
        return _not_mailed(download, error)
    finally:
        mail_answers.close(connection)
    return download.give_back(is_mail_due=False)


def _not_mailed(download: Download, error: Exception) -> bool:
    """Only what certainly did not go out is tried again."""
    log.warning("the mail about %s was not sent: %s", download, mail_answers.text_of(error))
    was_handed_over = Download.objects.filter(pk=download.pk, handed_over_at__isnull=False).exists()
    is_certain = not was_handed_over or mail_answers.is_refusal(error)
    if is_certain and download.may_retry and not mail_answers.is_permanent(error):
        download.retry(handed_over_at=None)
    else:
        download.give_back(is_mail_due=False)
    return False


# --- The end


def purge(now: datetime) -> int:
    """Delete old downloads, and files that no download names; returns how many files."""
    old = now - timedelta(days=settings.DOWNLOAD_DAYS)
    Download.objects.filter(ended_at__lt=old).exclude(state__in=Download.OPEN).delete()
    orphans = _orphans(now)
    for name in orphans:
        storage().delete(name)
    return len(orphans)


def _orphans(now: datetime) -> list[str]:
    """Files that a worker stored and died before it recorded them, and those of deleted rows."""
    place = storage()
    known = set(Download.objects.exclude(file="").values_list("file", flat=True))
    folders, _ = place.listdir("")
    names = [f"{folder}/{name}" for folder in folders for name in place.listdir(folder)[1]]
    return [
        name
        for name in names
        if name not in known and now - place.get_modified_time(name) > ORPHAN_AGE
    ]


def _run_soon(key: int) -> None:
    send_after_commit("analytics.downloads.tasks.run_download", key)


def _mail_soon(key: int) -> None:
    send_after_commit("analytics.downloads.tasks.mail_download", key)
