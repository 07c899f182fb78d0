"""What the links in a mail open, without a login: the report, unsubscribing, preferences."""

from functools import wraps
from typing import Any

from django.db import transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from analytics.charts import bundle
from analytics.reports.links import delivery_of
from analytics.reports.models import Delivery, Recipient, Report, Unsubscription, open_reports
from analytics.reports.views import content_context, file_of, pinned
from tenants.models import Tenant


def _opened(view: Any) -> Any:
    """The view gets the delivery that its link names; nothing of the page is kept or passed on."""

    @wraps(view)
    def opened(request: HttpRequest, token: str, *args: Any, **kwargs: Any) -> HttpResponseBase:
        delivery = delivery_of(token)
        with timezone.override(_tenant(delivery).zone):
            response: HttpResponseBase = view(request, delivery, token, *args, **kwargs)
        response["Referrer-Policy"] = "no-referrer"
        response["X-Robots-Tag"] = "noindex"
        return response

    return never_cache(opened)


def _tenant(delivery: Delivery) -> Tenant:
    return delivery.occurrence.report.tenant


@require_safe
@_opened
def public_report(request: HttpRequest, delivery: Delivery, token: str) -> HttpResponseBase:
    context = content_context(pinned(delivery.occurrence)) | {
        "tenant": _tenant(delivery),
        "token": token,
        "occurrence": delivery.occurrence,
        "vega_version": bundle.VERSION,
    }
    return render(request, "reports/public_report.html", context)


@require_safe
@_opened
def public_report_file(
    request: HttpRequest, delivery: Delivery, token: str, kind: str
) -> HttpResponseBase:
    return file_of(delivery.occurrence, kind)


@csrf_exempt  # mail programs post here of themselves (RFC 8058); the link is the proof
@require_http_methods(["GET", "HEAD", "POST"])
@_opened
def unsubscribe(request: HttpRequest, delivery: Delivery, token: str) -> HttpResponseBase:
    """A GET only asks: link scanners of mail servers open every link."""
    report = delivery.occurrence.report
    is_done = request.method == "POST"
    if is_done:
        Unsubscription.objects.get_or_create(
            tenant=report.tenant, report=report, address=delivery.address.lower()
        )
    context = {"report": report, "tenant": report.tenant, "delivery": delivery, "token": token}
    return render(request, "reports/unsubscribe.html", context | {"is_done": is_done})


@require_http_methods(["GET", "HEAD", "POST"])
@_opened
def preferences(request: HttpRequest, delivery: Delivery, token: str) -> HttpResponseBase:
    """Which of a tenant's reports this address wants."""
    tenant, address = _tenant(delivery), delivery.address.lower()
    offered = _sent_to(tenant, delivery)
    if request.method == "POST":
        _choose(request, tenant, address, offered)
        return redirect(f"{request.path}?saved=1")
    mine = Unsubscription.objects.filter(tenant=tenant, address=address)
    unwanted = set(mine.values_list("report_id", flat=True))
    rows = [(each, None not in unwanted and each.pk not in unwanted) for each in offered]
    context = {
        "tenant": tenant,
        "delivery": delivery,
        "rows": rows,
        "none_at_all": None in unwanted,
        "saved": "saved" in request.GET,
    }
    return render(request, "reports/preferences.html", context)


def _sent_to(tenant: Tenant, delivery: Delivery) -> list[Report]:
    """The reports that go to this reader; nobody learns of others."""
    recipients = Recipient.objects.filter(report__tenant=tenant)
    mine = (
        recipients.filter(user=delivery.user)
        if delivery.user
        else recipients.filter(address__iexact=delivery.address)
    )
    return list(open_reports(tenant).filter(pk__in=mine.values("report")))


@transaction.atomic
def _choose(request: HttpRequest, tenant: Tenant, address: str, offered: list[Report]) -> None:
    mine = Unsubscription.objects.filter(tenant=tenant, address=address)
    mine.delete()
    if "none" in request.POST:
        Unsubscription.objects.create(tenant=tenant, address=address)
        return
    wanted = set(request.POST.getlist("report"))
    Unsubscription.objects.bulk_create(
        Unsubscription(tenant=tenant, address=address, report=each)
        for each in offered
        if str(each.pk) not in wanted
    )
