"""A real mail server, a report with data, and a function that does the work of a worker."""

import asyncio
import socket
from datetime import time, timedelta
from email import message_from_bytes, policy

import pytest
from aiosmtpd.controller import Controller
from django.utils import timezone

from analytics.reports import deliveries, occurrences
from analytics.reports.models import Recipient, Report, Schedule
from analytics.tests.versions import company, log_load, ticket

OUTSIDE = "boss@client.example"


class Mailbox:
    """The emails that an SMTP server got, and its replies: `answers[address]` to RCPT TO.

    With `hangs_up` it takes the whole email and closes the connection without a reply.
    """

    def __init__(self):
        self.mails = []
        self.answers = {}
        self.data_answers = []
        self.hangs_up = False

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        answers = self.answers.get(address)
        if answers:
            return answers.pop(0) if isinstance(answers, list) else answers
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        if self.hangs_up:
            server.transport.abort()
            await asyncio.sleep(0)
            return "250 never heard"
        if self.data_answers:
            return self.data_answers.pop(0)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        self.mails.append((envelope.rcpt_tos, mail))
        return "250 OK"

    def sent_to(self, address):
        return [mail for recipients, mail in self.mails if address in recipients]


@pytest.fixture
def mailbox(settings):
    box = Mailbox()
    with socket.socket() as free:  # the controller cannot report a port that the system chose
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST = "127.0.0.1"
    settings.EMAIL_PORT = port
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    settings.DEFAULT_FROM_EMAIL = "reports@avesa.example"
    settings.SITE_URL = "https://avesa.example"
    settings.ADMINS = []
    yield box
    controller.stop()


@pytest.fixture(autouse=True)
def _no_messages(sent_tasks):
    """Tests run the work themselves, with `work`."""
    deliveries.composed_mail.cache_clear()


@pytest.fixture
def loaded(acme, warehouse, put_rows):
    """Acme with two companies and three tickets of the last days, loaded just now."""
    now = timezone.now()
    yesterday = (now - timedelta(days=1)).isoformat()
    put_rows(acme, "companies", [company("1", name="Müller & <Sons>", is_active=True)])
    opened = {"created_date": yesterday, "company_id": "1", "company_name": "Müller & <Sons>"}
    put_rows(
        acme,
        "tickets",
        [
            ticket("1", yesterday, priority="High", **opened),
            ticket("2", yesterday, priority="Low", **opened),
            ticket("3", yesterday, priority="Low", closed_date=now.isoformat(), **opened),
        ],
    )
    for table in ("companies", "tickets", "time_entries"):
        log_load(warehouse, acme, table, finished_at=now.isoformat())
    acme.report_domains = "client.example"
    acme.save()
    return acme


@pytest.fixture
def report(loaded, alice):
    """Tickets of the last week, daily at 7:00, to alice and one outside address."""
    made = Report.objects.create(
        tenant=loaded, owner=alice, name="Tickets", dashboard="", period="last-7-days"
    )
    made.tiles.create(position=0, type="figure", metrics=["tickets_opened"])
    made.tiles.create(position=1, type="chart", metrics=["tickets_opened", "tickets_closed"])
    made.tiles.create(position=2, type="parts", metrics=["backlog_by_priority"])
    Recipient.objects.create(report=made, user=alice)
    Recipient.objects.create(report=made, address=OUTSIDE)
    Schedule.objects.create(report=made, frequency="daily", at=time(7))
    return made


@pytest.fixture
def due(report):
    """An occurrence of the report that has just become due."""
    return report.occurrences.create(due_at=timezone.now())


def work(later=timedelta()):
    """Do all work that is due by now plus `later`; return the resulting states."""
    keys = list(occurrences.to_run(timezone.now() + later).values_list("pk", flat=True))
    states = [occurrences.run(key) for key in keys]
    keys = list(deliveries.to_send(timezone.now() + later).values_list("pk", flat=True))
    return states + [deliveries.send(key) for key in keys]


def states_of(occurrence):
    """{address: state} of its deliveries."""
    return dict(occurrence.deliveries.values_list("address", "state"))
