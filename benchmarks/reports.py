"""Reports: the cost of one and of its steps, and how many a worker sends."""

import socket
import subprocess
import sys
from contextlib import contextmanager
from datetime import time, timedelta
from statistics import median
from time import sleep

from benchmarks.histories import fill
from benchmarks.report import Figure, Section
from benchmarks.stack import _free_port, timed

RECIPIENTS, OCCURRENCES, ROUNDS = 10, 20, 7
BAR = 1.5


def measure():
    from django.conf import settings
    from django.core.cache import cache
    from django.core.mail import get_connection
    from django.utils import timezone

    from analytics.charts import render
    from analytics.reports import deliveries, documents, mails, occurrences
    from analytics.reports.content import compose, scoped_tiles

    fill("bench", 50_000)
    report = _report()
    now = timezone.now()

    def content_now():
        cache.clear()
        return compose(report, scoped_tiles(report), now, now)

    with _sink() as port:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port
        content = content_now()
        composed = mails.composed_mail(report, content)
        specs = [tile.spec for tile in content.tiles if tile.spec]
        pages = len(documents.pages_as_png(content, report.tenant))
        links = mails.Links("https://a", "https://b", "https://c")
        delivery = _run(report, occurrences, deliveries, count=1)
        mail = mails.report_mail(composed, delivery)

        def send():
            connection = get_connection()
            connection.send_messages([mail])

        spent = {
            "figures": _median(content_now),
            "chart as PNG": _median(lambda: render.png(specs[0], width=mails.CHART_WIDTH)),
            "PDF": _median(lambda: documents.pdf(content, report.tenant)),
            "email, text": _median(lambda: mails.rendered(composed, links)),
            "email, assembled": _median(lambda: mails.report_mail(composed, delivery).message()),
            "email, sent": _median(send),
        }
        alone = (
            spent["figures"]
            + len(specs) * spent["chart as PNG"]
            + spent["PDF"]
            + RECIPIENTS * (spent["email, assembled"] + spent["email, sent"])
        )

        def many():
            cache.clear()
            _run(report, occurrences, deliveries, count=OCCURRENCES)

        whole = timed(many)[0] / OCCURRENCES
        cold = []
        for _ in range(ROUNDS):
            cache.clear()
            cold.append(timed(lambda: _run(report, occurrences, deliveries, count=1))[0])
    ratio = median(cold) / alone
    return Section(
        "reports",
        f"A report of the Overview dashboard (12 tiles, {len(specs)} charts, {pages} PDF pages) of "
        f"a tenant with 50,000 tickets and 150,000 time entries, to {RECIPIENTS} recipients of an "
        f"SMTP server on the same machine; medians of {ROUNDS}. `its steps alone` are the "
        "figures, charts, PDF and emails, made and sent one by one, with nothing recorded",
        [
            *(Figure(what, f"{seconds * 1000:,.1f} ms") for what, seconds in spent.items()),
            Figure("PDF, per page", f"{spent['document'] / pages * 1000:,.1f} ms"),
            Figure("size of the email", f"{len(mail.message().as_bytes()) / 1000:,.0f} kB"),
            Figure("its steps alone", f"{alone * 1000:,.0f} ms"),
            Figure("an occurrence, planned to delivered", f"{median(cold) * 1000:,.0f} ms"),
            Figure("**occurrence / its steps alone**", f"**{ratio:.2f}** (bar: ≤ {BAR})"),
            Figure(
                f"occurrences per minute and worker process, {OCCURRENCES} in a row",
                f"{60 / whole:,.0f}, or {60 * RECIPIENTS / whole:,.0f} emails",
            ),
        ],
        passed=ratio <= BAR,
    )


def _report():
    from django.utils import timezone

    from analytics.reports.models import Recipient, Report, Schedule
    from analytics.tests.versions import log_load
    from analytics.warehouse.client import WarehouseClient
    from tenants.models import Membership, Tenant, User

    tenant = Tenant.objects.create(
        id="bench", name="Bench", time_zone="Europe/Berlin", report_domains="client.example"
    )
    owner = User.objects.create_user("bench", "bench@client.example")
    Membership.objects.create(user=owner, tenant=tenant, role=Membership.Role.ADMIN)
    for table in ("companies", "tickets", "time_entries"):
        log_load(WarehouseClient(), tenant, table, finished_at=timezone.now().isoformat())
    report = Report.objects.create(
        tenant=tenant, owner=owner, name="Overview", dashboard="overview"
    )
    Schedule.objects.create(report=report, frequency="daily", at=time(7))
    Recipient.objects.bulk_create(
        Recipient(report=report, address=f"reader-{number}@client.example")
        for number in range(RECIPIENTS)
    )
    return report


def _run(report, occurrences, deliveries, count):
    """Plans and sends `count` occurrences as one worker would; returns a delivery."""
    from django.utils import timezone

    from analytics.reports.models import Delivery, Occurrence
    from avesa_site.celery import app

    app.send_task = lambda *message, **options: None
    first = report.occurrences.count()
    now = timezone.now()
    Occurrence.objects.bulk_create(
        Occurrence(report=report, due_at=now - timedelta(seconds=first + number), try_at=now)
        for number in range(count)
    )
    for key in list(occurrences.to_run(timezone.now()).values_list("pk", flat=True)):
        assert occurrences.run(key) == "sending"
        for each in list(deliveries.to_send(timezone.now()).values_list("pk", flat=True)):
            assert deliveries.send(each) == "sent"
    return Delivery.objects.select_related("occurrence__report__tenant").last()


def _median(action):
    return median(timed(action)[0] for _ in range(ROUNDS))


@contextmanager
def _sink():
    """A mail server that discards everything, in its own process."""
    port = _free_port()
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "aiosmtpd", "-n", "-c", "aiosmtpd.handlers.Sink"),
            *("-l", f"127.0.0.1:{port}"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            sleep(0.1)
        yield port
    finally:
        server.terminate()
        server.wait()
