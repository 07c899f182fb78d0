"""The pages behind the links in an email, without a login: report, unsubscribe, preferences."""

from collections.abc import Callable
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
from analytics.reports.links import delivery_of, open_delivery_of
from analytics.reports.models import Delivery, Recipient, Report, Unsubscription, open_reports
from analytics.reports.views import content_context, file_of, stored_content
from analytics.views.common import too_many_requests
from common import limits
from common.limits import TooManyRequests
from tenants.models import Tenant


def _with_open_delivery(view: Any) -> Any:
    """Pass the view the delivery of its link, until that expires.

    Pages are not cached, indexed or sent as referrer.
    """
    return _with(open_delivery_of, view)


def _with_delivery(view: Any) -> Any:
    """The same, but the link has no end."""
    return _with(delivery_of, view)


def _with(find: Callable[[str], Delivery], view: Any) -> Any:

    @wraps(view)
    def wrapped(request: HttpRequest, token: str, *args: Any, **kwargs: Any) -> HttpResponseBase:
        delivery = find(token)
        with timezone.override(_tenant(delivery).zone):
            response: HttpResponseBase = view(request, delivery, token, *args, **kwargs)
        response["Referrer-Policy"] = "no-referrer"
        response["X-Robots-Tag"] = "noindex"
        return response

    return never_cache(wrapped)


def _tenant(delivery: Delivery) -> Tenant:
    return delivery.occurrence.report.tenant


@require_safe
@_with_open_delivery
def public_report(request: HttpRequest, delivery: Delivery, token: str) -> HttpResponseBase:
    context = content_context(stored_content(delivery.occurrence)) | {
        "tenant": _tenant(delivery),
        "token": token,
        "occurrence": delivery.occurrence,
        "vega_version": bundle.VERSION,
    }
    return render(request, "reports/public_report.html", context)


@require_safe
@_with_open_delivery
def public_report_file(
    request: HttpRequest, delivery: Delivery, token: str, kind: str
) -> HttpResponseBase:
    tenant = _tenant(delivery)
    try:
        limits.take(request, "export", tenant.id, f"link-{delivery.pk}")
    except TooManyRequests as error:
        return too_many_requests(request, error)
    return file_of(delivery.occurrence, kind)


@csrf_exempt  # email clients post here (RFC 8058); the signed link is the authorization
@require_http_methods(["GET", "HEAD", "POST"])
@_with_delivery
def unsubscribe(request: HttpRequest, delivery: Delivery, token: str) -> HttpResponseBase:
    """A GET only shows a button, since mail servers open every link to scan it."""
    report = delivery.occurrence.report
    is_done = request.method == "POST"
    if is_done:
        Unsubscription.objects.get_or_create(
            tenant=report.tenant, report=report, address=delivery.address.lower()
        )
    context = {"report": report, "tenant": report.tenant, "delivery": delivery, "token": token}
    return render(request, "reports/unsubscribe.html", context | {"is_done": is_done})


@require_http_methods(["GET", "HEAD", "POST"])
@_with_open_delivery
def preferences(request: HttpRequest, delivery: Delivery, token: str) -> HttpResponseBase:
    """Choose which of a tenant's reports this address gets."""
    tenant, address = _tenant(delivery), delivery.address.lower()
    offered = _sent_to(tenant, delivery)
    if request.method == "POST":
        _choose(request, tenant, address, offered)
        return redirect(f"{request.path}?saved=1")
    mine = Unsubscription.objects.filter(tenant=tenant, address=address)
    unsubscribed = set(mine.values_list("report_id", flat=True))
    rows = [(each, None not in unsubscribed and each.pk not in unsubscribed) for each in offered]
    context = {
        "tenant": tenant,
        "delivery": delivery,
        "rows": rows,
        "stopped_all": None in unsubscribed,
        "saved": "saved" in request.GET,
    }
    return render(request, "reports/preferences.html", context)


def _sent_to(tenant: Tenant, delivery: Delivery) -> list[Report]:
    """The reports that this reader gets; others are not shown."""
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
