"""The page of a member's own large downloads. Every request checks user and tenant again."""

from django.contrib import messages
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render

from analytics.downloads import jobs
from analytics.downloads.models import Download
from analytics.periods import PeriodError
from analytics.records import listing
from analytics.views.common import limited, member_action, page_context, tenant_page
from analytics.views.downloads import bad_download, file_download
from analytics.views.records import listing_of, sheet_refusal
from analytics.warehouse.catalog import TABLES
from analytics.warehouse.exports import KINDS
from tenants.models import Tenant, User


@tenant_page
def downloads(request: HttpRequest, tenant: Tenant) -> HttpResponseBase:
    assert isinstance(request.user, User)
    mine = list(Download.objects.filter(tenant=tenant, user=request.user))
    context = page_context(request, tenant, "downloads") | {
        "downloads": mine,
        "has_open": any(each.is_open for each in mine),
    }
    return render(request, "downloads/downloads.html", context)


@member_action
@limited("export")
def order(request: HttpRequest, tenant: Tenant, table: str, kind: str) -> HttpResponseBase:
    """Ask for a file of the list in the address."""
    assert isinstance(request.user, User)
    if kind not in KINDS or table not in TABLES:
        raise Http404
    try:
        wanted = listing_of(request.GET, tenant, TABLES[table])
        found = listing.count(tenant, wanted)
    except (listing.ListingError, PeriodError) as problem:
        return bad_download(problem.field, problem.message)
    if refusal := sheet_refusal(kind, found):
        return bad_download("kind", refusal)
    try:
        jobs.order(tenant, request.user, table, kind, request.GET.urlencode(), found)
    except jobs.TooManyDownloads as refused:
        messages.error(request, str(refused))
    return redirect("downloads", tenant.id)


@tenant_page
@limited("export")
def file(request: HttpRequest, tenant: Tenant, key: int) -> HttpResponseBase:
    found = _mine(request, tenant, key)
    if not found.is_available or not jobs.storage().exists(found.file):
        raise Http404
    name = f"{tenant.id}-{found.table}.{found.kind}"
    return file_download(jobs.storage().open(found.file), name)


@member_action
def cancel(request: HttpRequest, tenant: Tenant, key: int) -> HttpResponseBase:
    jobs.cancel(_mine(request, tenant, key))
    return redirect("downloads", tenant.id)


def _mine(request: HttpRequest, tenant: Tenant, key: int) -> Download:
    found = Download.objects.filter(tenant=tenant, user=request.user.pk, pk=key).first()
    if found is None:
        raise Http404
    return found
