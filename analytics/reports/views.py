"""Reports in the portal: the list, the composer with its preview, and the deliveries."""

import base64
import logging
from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.clickjacking import xframe_options_sameorigin

from analytics.charts import bundle
from analytics.dashboards.choices import choices
from analytics.metrics import METRICS, freshness_of
from analytics.metrics.formats import figure_text
from analytics.reports import deliveries, documents, mails, occurrences, sheets, today
from analytics.reports.content import Content, compose, data_problems
from analytics.reports.forms import Composer
from analytics.reports.models import Delivery, Occurrence, Report, Schedule, open_reports
from analytics.views.common import admin_action, admin_page, limited, page_context, tenant_page
from analytics.views.downloads import XLSX, download, rendered_download
from analytics.views.why import difference_context
from analytics.warehouse.catalog import TABLES
from analytics.warehouse.errors import WarehouseError
from common import limits
from common.audit import record_action
from common.limits import TooManyRequests
from common.renderers import RenderingFailed
from tenants.access import is_admin_of
from tenants.models import Tenant, User

log = logging.getLogger(__name__)

PER_PAGE = 25
DUE_TIMES_SHOWN = 5
PREVIEW_LINKS = mails.Links("#", "#", "#")
# Emails have inline styles, the preview inline images; nothing else may run or be loaded.
PREVIEW_POLICY = (
    "default-src 'none'; frame-src 'self'; img-src data:; style-src 'unsafe-inline'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)


def _context(request: HttpRequest, tenant: Tenant) -> dict[str, Any]:
    may_edit = is_admin_of(_user(request), tenant)
    return page_context(request, tenant, "reports") | {"may_edit": may_edit}


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


def _report_of(tenant: Tenant, key: int) -> Report:
    related = "schedule", "owner", "tenant"
    report: Report | None = open_reports(tenant).select_related(*related).filter(pk=key).first()
    if report is None:
        raise Http404("No such report.")
    return report


def _occurrence_of(tenant: Tenant, report_key: int, key: int) -> Occurrence:
    found = Occurrence.objects.select_related("report__tenant", "report__owner", "requested_by")
    occurrence = found.filter(pk=key, report_id=report_key, report__tenant=tenant).first()
    if occurrence is None:
        raise Http404("No such report.")
    return occurrence


# --- The list, and one report


@tenant_page
def reports(request: HttpRequest, tenant: Tenant) -> HttpResponseBase:
    found = open_reports(tenant).select_related("schedule", "owner", "tenant")
    now = timezone.now()
    rows = [
        {
            "report": each,
            "next": None if each.schedule.paused_at else each.schedule.timetable.next(now, 1)[0],
            "last": _newest(each).filter(kind=Occurrence.Kind.SCHEDULED).first(),
        }
        for each in found.annotate(recipient_count=Count("recipients")).order_by("name")
    ]
    return render(request, "reports/reports.html", _context(request, tenant) | {"rows": rows})


@tenant_page
def report(request: HttpRequest, tenant: Tenant, key: int) -> HttpResponseBase:
    shown = _report_of(tenant, key)
    states = {
        f"count_{state}": Count("deliveries", filter=Q(deliveries__state=state))
        for state in Delivery.State.values
    }
    past = Paginator(_newest(shown).annotate(**states), PER_PAGE)
    page = past.get_page(request.GET.get("page"))
    context = _context(request, tenant) | {
        "report": shown,
        "schedule": shown.schedule,
        "next": shown.schedule.timetable.next(timezone.now(), DUE_TIMES_SHOWN),
        "recipients": shown.recipients.select_related("user"),
        "page": page,
        "rows": [(each, _ledger(each)) for each in page],
    }
    return render(request, "reports/report.html", context)


def _newest(report: Report) -> QuerySet[Occurrence]:
    return report.occurrences.defer("content").order_by("-due_at", "-pk")


def _ledger(occurrence: Occurrence) -> list[tuple[str, int]]:
    """The number of deliveries in each state."""
    counts = ((state, getattr(occurrence, f"count_{state}")) for state in Delivery.State)
    return [(state.label.lower(), count) for state, count in counts if count]


# --- Composing


@admin_page
def compose_report(request: HttpRequest, tenant: Tenant, key: int | None = None) -> HttpResponse:
    draft = Report(tenant=tenant) if key is None else _report_of(tenant, key)
    composer = Composer(draft, _offered(tenant), request.POST or None)
    if request.method == "POST" and composer.is_valid():
        saved = composer.save(_user(request))
        record_action(_user(request).pk, saved, "Saved.")
        messages.success(
            request, f"“{saved.name}” is saved. You own it now: it is sent with your permissions."
        )
        return redirect("report", tenant.id, saved.pk)
    context = _context(request, tenant) | {"composer": composer, "offered": _offered(tenant)}
    context |= {"draft": draft, "key": key}
    status = 400 if request.method == "POST" else 200
    return render(request, "reports/compose.html", context, status=status)


def _offered(tenant: Tenant) -> dict[str, list[tuple[str, str]]]:
    return choices(tenant, freshness_of(tenant, TABLES))


@admin_action
@xframe_options_sameorigin
def preview(request: HttpRequest, tenant: Tenant, key: int | None = None) -> HttpResponseBase:
    """The email and the PDF of the form as it is now, with today's figures. Saves nothing."""
    headers = {}
    try:
        limits.take(request, "preview", tenant.id, f"user-{_user(request).pk}")
        context = _preview_context(tenant, key, request.POST)
        status = 503 if "problem" in context else 200
    except TooManyRequests as error:
        context, status = {"problem": str(error)}, 429
        headers = {"Retry-After": str(error.retry_after)}
    response = render(request, "reports/preview.html", context, status=status)
    for name, value in headers.items():
        response[name] = value
    response["Content-Security-Policy"] = PREVIEW_POLICY
    return response


def _preview_context(tenant: Tenant, key: int | None, sent: QueryDict) -> dict[str, Any]:
    draft = Report(tenant=tenant) if key is None else _report_of(tenant, key)
    composer = Composer(draft, _offered(tenant), sent)
    context: dict[str, Any] = {"composer": composer}
    if composer.can_be_previewed():
        try:
            context |= _rendered(composer.report.instance, composer)
        except RenderingFailed as error:
            context["problem"] = str(error)
    return context


def _rendered(draft: Report, composer: Composer) -> dict[str, Any]:
    now = timezone.now()
    tiles = composer.scoped_tiles()
    notices = [f"Please note: {each}" for each in data_problems(draft, tiles, now)]
    content = compose(draft, tiles, now, now, notices)
    composed = mails.composed_mail(draft, content)
    text, html = mails.rendered(composed, PREVIEW_LINKS)
    for cid, picture in mails.inline_pictures(composed).items():
        html = html.replace(f"cid:{cid}", _data_url(picture))
    pages = documents.pages_as_png(content, draft.tenant) if draft.as_pdf else []
    return {
        "subject": mails.subject_of(content),
        "html": html,
        "text": text,
        "pages": [_data_url(each) for each in pages],
        "attachments": composed.attachments,
        "omitted": composed.omitted,
    }


def _data_url(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


# --- Actions of admins


@admin_action
def act(request: HttpRequest, tenant: Tenant, key: int, action: str) -> HttpResponse:
    """Send a test of a report, or pause, resume or remove it."""
    chosen = _report_of(tenant, key)
    if action == "test":
        user = _user(request)
        if not user.email:
            messages.error(request, "Your account has no email address to send a test to.")
        else:
            limits.take(request, "test", tenant.id, f"user-{user.pk}")
            record_action(user.pk, occurrences.test(chosen, user), "Test requested.")
            messages.success(request, f"A test is on its way to {user.email}.")
    elif action == "pause":
        reason = f"by {user_name(_user(request))}."
        running = Schedule.objects.filter(report=chosen, paused_at__isnull=True)
        if running.update(paused_at=timezone.now(), pause_reason=reason):
            record_action(_user(request).pk, chosen, "Paused.")
    elif action == "resume":
        # Occurrences that came due during the pause are not sent later.
        paused = Schedule.objects.filter(report=chosen, paused_at__isnull=False)
        if paused.update(paused_at=None, pause_reason="", planned_until=timezone.now()):
            record_action(_user(request).pk, chosen, "Resumed.")
    elif action == "remove":
        Report.objects.filter(pk=chosen.pk).update(removed_at=timezone.now())
        record_action(_user(request).pk, chosen, "Removed.")
        messages.success(request, f"“{chosen.name}” is removed.")
        return redirect("reports", tenant.id)
    else:
        raise Http404
    return redirect("report", tenant.id, key)


def user_name(user: User) -> str:
    return user.get_full_name() or user.username


# --- One occurrence


@tenant_page
def occurrence(request: HttpRequest, tenant: Tenant, report_key: int, key: int) -> HttpResponseBase:
    """The stored content of a report; admins also see its deliveries."""
    shown = _occurrence_of(tenant, report_key, key)
    context = _context(request, tenant) | {
        "report": shown.report,
        "occurrence": shown,
        "vega_version": bundle.VERSION,
        "has_failed": shown.deliveries.filter(state=Delivery.State.FAILED).exists(),
    }
    if context["may_edit"]:
        context["deliveries"] = shown.deliveries.all()
    if shown.content is not None:
        content = stored_content(shown)
        context |= content_context(content, _figures_today(tenant, content))
    return render(request, "reports/occurrence.html", context)


def _figures_today(tenant: Tenant, content: Content) -> list[list[today.FigureToday]]:
    """None for a tile if the warehouse does not respond: what was sent is shown in any case."""
    try:
        return today.figures_today(tenant, content)
    except WarehouseError:
        log.exception("the figures of a report cannot be compared with today's")
        return [[] for _ in content.tiles]


@tenant_page
def figure_why(
    request: HttpRequest, tenant: Tenant, report_key: int, key: int, number: int, name: str
) -> HttpResponseBase:
    """Why a figure of a sent report would be another one today."""
    shown = _occurrence_of(tenant, report_key, key)
    content = stored_content(shown)
    if number >= len(content.tiles) or name not in content.tiles[number].figures.keys() & METRICS:
        raise Http404
    tile = content.tiles[number]
    comparison = today.comparison_with_today(tenant, content, tile)
    context = _context(request, tenant) | difference_context(comparison, name)
    sent = today.sent_figure(tile, name)
    context["sent"] = today.SentFigure(
        figure_text(METRICS[name], sent), sent == context["found"].before.figure
    )
    return render(request, "analytics/why.html", context | {"occurrence": shown})


def stored_content(shown: Occurrence) -> Content:
    """The stored content. Raises PermissionDenied if it was changed since it was composed."""
    if shown.content is None:
        raise Http404("This report has no content.")
    content = Content.from_json(shown.content)
    if content.digest != shown.digest:
        raise PermissionDenied("This report was changed later: its digest does not match.")
    return content


def content_context(
    content: Content, figures_today: Sequence[Sequence[today.FigureToday]] = ()
) -> dict[str, Any]:
    """`figures_today` of each tile: for members, not for public reports."""
    tiles = [
        (
            tile,
            f"tile-{number}",
            documents.aside(tile, content),
            number,
            figures_today[number] if figures_today else (),
        )
        for number, tile in enumerate(content.tiles)
    ]
    return {
        "content": content,
        "tiles": tiles,
        "as_of": documents.as_of_text(content),
        "freshness": documents.freshness_text(content),
    }


@tenant_page
@limited("export")
def occurrence_file(
    request: HttpRequest, tenant: Tenant, report_key: int, key: int, kind: str
) -> HttpResponseBase:
    return file_of(_occurrence_of(tenant, report_key, key), kind)


def file_of(shown: Occurrence, kind: str) -> HttpResponse:
    """The report as pdf, csv or xlsx, rendered again from its stored content."""
    content = stored_content(shown)
    name = f"{mails.file_name(content)}.{kind}"
    if kind == "pdf":
        tenant = shown.report.tenant
        return rendered_download(lambda: documents.pdf(content, tenant), "application/pdf", name)
    if kind == "csv":
        return download(sheets.csv(content), "text/csv; charset=utf-8", name)
    if kind == "xlsx":
        return download(sheets.xlsx(content), XLSX, name)
    raise Http404


@admin_action
def act_on_occurrence(
    request: HttpRequest, tenant: Tenant, report_key: int, key: int, action: str
) -> HttpResponse:
    """Resend the failed deliveries, or release a held report."""
    chosen = _occurrence_of(tenant, report_key, key)
    if action == "resend":
        count = deliveries.resend_failed(chosen)
        if count:
            record_action(_user(request).pk, chosen, f"Failed emails resent: {count}.")
        messages.success(request, f"Failed emails being resent: {count}.")
    elif action == "release":
        if occurrences.release(chosen):
            record_action(_user(request).pk, chosen, "Released.")
            messages.success(request, "The report is being sent, with its notice.")
    else:
        raise Http404
    return redirect("occurrence", tenant.id, report_key, key)


# --- All deliveries


@admin_page
def ledger(request: HttpRequest, tenant: Tenant) -> HttpResponseBase:
    """All deliveries of the tenant, newest first, filtered by state, report and address."""
    state, report_key = request.GET.get("state", ""), request.GET.get("report", "")
    address = request.GET.get("address", "").strip()
    found = Delivery.objects.filter(occurrence__report__tenant=tenant)
    if state in Delivery.State.values:
        found = found.filter(state=state)
    if report_key.isdecimal() and len(report_key) < 19:
        found = found.filter(occurrence__report_id=int(report_key))
    if address:
        found = found.filter(address__icontains=address.replace("\0", ""))
    related = found.select_related("occurrence__report__tenant").defer("occurrence__content")
    pages = Paginator(related.order_by("-occurrence__due_at", "-pk"), PER_PAGE)
    context = _context(request, tenant) | {
        "page": pages.get_page(request.GET.get("page")),
        "states": Delivery.State.choices,
        "all_reports": Report.objects.filter(tenant=tenant),
        "state": state,
        "chosen_report": report_key,
        "address": address,
    }
    return render(request, "reports/ledger.html", context)
