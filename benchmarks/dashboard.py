"""The overview page against its own queries: what Django, rendering and the driver add."""

from datetime import UTC, datetime, timedelta
from statistics import median

from .report import Figure, Section
from .stack import timed

TICKETS, COMPANIES, REQUESTS = 100_000, 500, 40
BAR_MILLISECONDS = 25


def measure():
    from django.test import Client

    from tenants.models import Membership, Tenant, User

    tenant = Tenant.objects.create(id="bench", name="Bench", time_zone="Europe/Berlin")
    user = User.objects.create_user("bench")
    Membership.objects.create(user=user, tenant=tenant)
    _fill(tenant)
    client = Client()
    client.force_login(user)

    def page():
        response = client.get("/t/bench/")
        assert response.status_code == 200
        assert response.content.count(b"application/json") == 3

    statements = _statements_of(page)
    queries = _runner(statements)
    page(), queries()
    pairs = [(timed(page)[0] * 1000, timed(queries)[0] * 1000) for _ in range(REQUESTS)]
    added = median(whole - bare for whole, bare in pairs)
    return Section(
        "dashboard",
        f"Overview page (last 30 days, {TICKETS:,} tickets, {COMPANIES} companies) against its own "
        f"{len(statements)} statements sent bare over one connection of the same driver; median "
        f"of {REQUESTS} requests, each followed by its statements",
        [
            Figure("whole request", f"{median(whole for whole, _ in pairs):.1f} ms"),
            Figure("its statements alone", f"{median(bare for _, bare in pairs):.1f} ms"),
            Figure("**added by AVESA**", f"**{added:.1f} ms** (bar: ≤ {BAR_MILLISECONDS} ms)"),
            Figure("request / statements", f"{median(w / b for w, b in pairs):.2f}"),
        ],
        passed=added <= BAR_MILLISECONDS,
    )


def _fill(tenant):
    """Tickets and companies straight into the warehouse, and the loads that brought them."""
    from analytics.warehouse.writer import Writer

    writer = Writer()
    common = "toDateTime64('2026-01-01', 3, 'UTC'), true, 1"
    names = "effective_date, is_current, load_id"
    writer.run(
        f"INSERT INTO shared_tickets (tenant_id, ticket_id, status, created_date, closed_date, "
        f"actual_hours, {names}) SELECT 'bench', toString(number), 'Closed', "
        f"now64(3) - toIntervalMinute(number * 10 % 1000000), "
        f"if(number % 10 = 0, NULL, now64(3) - toIntervalMinute(number * 10 % 1000000) + 3600), "
        f"number % 800 / 100, {common} FROM numbers({TICKETS})"
    )
    writer.run(
        f"INSERT INTO shared_companies (tenant_id, company_id, is_active, number_of_employees, "
        f"annual_revenue, {names}) SELECT 'bench', toString(number), number % 5 > 0, "
        f"number, number * 1000, {common} FROM numbers({COMPANIES})"
    )
    now = datetime.now(UTC)
    for table in ("companies", "tickets"):
        row = {
            "tenant_id": tenant.id,
            "table_name": table,
            "load_id": 1,
            "finished_at": now,
            "newest_file": "bench/a.parquet",
            "newest_file_time": now - timedelta(hours=1),
        }
        writer.insert("load_log", list(row), [[value] for value in row.values()])


def _statements_of(page):
    """[(sql, bound parameters)] that one page sends."""
    from analytics.warehouse.reader import TenantReader

    sent = []
    original = TenantReader._send

    def note(self, sql, bound):
        sent.append((sql, bound))
        return original(self, sql, bound)

    TenantReader._send = note
    try:
        page()
    finally:
        TenantReader._send = original
    return sent


def _runner(statements):
    from analytics.warehouse.connection import address

    client = address().client(read_timeout=30)

    def run():
        for sql, bound in statements:
            client.execute(sql, bound)

    return run
