"""The overview of a large tenant: cold against its statements alone, warm, and under load."""

import random
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from statistics import median, quantiles
from time import perf_counter

from benchmarks.report import Figure, Section
from benchmarks.stack import timed

TICKETS, ENTRIES, COMPANIES = 1_000_000, 3_000_000, 500
SMALL = 20  # the other tenants have 1/20 of that
REQUESTS, WARM, USERS, TENANTS, EACH = 20, 60, 20, 5, 5
COLD_BAR, WARM_BAR = 2.0, 50


def measure():
    from django.core.cache import cache
    from django.test import Client

    from tenants.models import Membership, Tenant, User

    user = User.objects.create_user("bench")
    names = [f"bench-{number}" for number in range(TENANTS)]
    for name in names:
        tenant = Tenant.objects.create(id=name, name=name, time_zone="Europe/Berlin")
        Membership.objects.create(user=user, tenant=tenant)
        _fill(name, 1 if name == names[0] else SMALL)
    client = Client()
    client.force_login(user)

    def page():
        """(seconds of the whole page, seconds until each tile)."""
        return _fetch(client, names[0])

    statements = _statements_of(page)
    alone = _runner(statements)
    cache.clear()
    page()
    cold, tiles, bare = [], [], []
    for _ in range(REQUESTS):
        bare.append(sum(alone()))
        cache.clear()
        whole, arrivals = page()
        cold.append(whole)
        tiles += arrivals
    warm = [page()[0] for _ in range(WARM)]
    errors, together = _many_at_once(user, names)
    ratio = _p95(cold) / median(bare)
    return Section(
        "dashboard",
        f"Overview page (12 tiles, last 30 days) of a tenant with {TICKETS:,} tickets, "
        f"{ENTRIES:,} time entries and {COMPANIES} companies; cold: the cache emptied before each "
        f"of {REQUESTS} requests, against its own {len(statements)} statements sent bare, one "
        f"after the other, before each; warm: {WARM} requests; then {USERS} users at once on "
        f"{TENANTS} tenants, {EACH} pages each with an emptied cache",
        [
            Figure("its statements alone, total, median", _ms(median(bare))),
            Figure("cold page, median", _ms(median(cold))),
            Figure("cold page, p95", _ms(_p95(cold))),
            Figure("**cold p95 / statements alone**", f"**{ratio:.2f}** (bar: < {COLD_BAR:.0f})"),
            Figure("cold tile, p95 of its arrival", _ms(_p95(tiles))),
            Figure("cold tile, median of its arrival", _ms(median(tiles))),
            Figure("**warm page, median**", f"**{_ms(median(warm))}** (bar: < {WARM_BAR} ms)"),
            Figure("warm page, p95", _ms(_p95(warm))),
            Figure(f"{USERS} users at once: errors", f"{errors} of {USERS * EACH} pages"),
            Figure(f"{USERS} users at once: page, p95", _ms(_p95(together))),
        ],
        passed=ratio < COLD_BAR and median(warm) * 1000 < WARM_BAR and not errors,
    )


def _fetch(client, tenant):
    started = perf_counter()
    response = client.get(f"/t/{tenant}/")
    assert response.status_code == 200
    arrivals, failed, ended = [], 0, False
    for part in response.streaming_content:
        now = perf_counter() - started
        arrivals += [now] * len(re.findall(rb"<section slot=", part))
        failed += part.count(b"Failed:")
        ended = b"</html>" in part
    assert ended
    assert len(arrivals) == 12
    assert not failed
    return perf_counter() - started, arrivals


def _many_at_once(user, tenants):
    """(errors, seconds per page) of many users who start at the same moment."""
    from django.core.cache import cache
    from django.db import connections
    from django.test import Client

    cache.clear()
    start = threading.Barrier(USERS)
    picks = random.Random(7)  # noqa: S311
    choices = [[picks.choice(tenants) for _ in range(EACH)] for _ in range(USERS)]
    clients = [Client() for _ in range(USERS)]
    for each in clients:
        each.force_login(user)

    def visit(number):
        start.wait()
        found, errors = [], 0
        for tenant in choices[number]:
            try:
                found.append(_fetch(clients[number], tenant)[0])
            except Exception as error:
                print(f"  {type(error).__name__}: {error}")
                errors += 1
        connections.close_all()
        return errors, found

    with ThreadPoolExecutor(USERS) as threads:
        answers = list(threads.map(visit, range(USERS)))
    return sum(errors for errors, _ in answers), [each for _, found in answers for each in found]


def _fill(tenant, divisor):
    """Insert two years of tickets and time entries directly into the warehouse, with load log."""
    from analytics.warehouse.client import WarehouseClient

    warehouse = WarehouseClient()
    tickets, entries = TICKETS // divisor, ENTRIES // divisor
    seconds = 2 * 365 * 86_400
    names = "effective_date, is_current, load_id"
    warehouse.run(
        f"INSERT INTO shared_tickets (tenant_id, ticket_id, ticket_number, summary, status, "
        f"priority, board_name, team_name, type_name, subtype_name, owner_id, owner_name, "
        f"company_id, company_name, created_date, first_response_date, closed_date, actual_hours, "
        f"{names}) SELECT '{tenant}', leftPad(toString(number), 8, '0'), toString(number), "
        f"concat('Printer ', toString(number % 977)), if(is_open, 'New', 'Closed'), "
        f"concat('Priority ', toString(1 + number % 4)), concat('Board ', toString(number % 6)), "
        f"concat('Team ', toString(number % 5)), concat('Type ', toString(number % 5)), "
        f"concat('Subtype ', toString(number % 23)), toString(number % 40), "
        f"concat('Technician ', toString(number % 40)), toString(number % {COMPANIES}), "
        f"concat('Company ', toString(number % {COMPANIES})), opened, "
        f"opened + toIntervalSecond(600 + number % 9000), "
        f"if(is_open, NULL, opened + toIntervalSecond(3600 + number * 7919 % 400000)), "
        f"number % 800 / 100, opened, true, 1 "
        f"FROM (SELECT number, number % 25 = 0 AS is_open, now64(3) - toIntervalSecond("
        f"number * {seconds // 1000} % {seconds} + 3600 * 120) AS opened FROM numbers({tickets}))"
    )
    warehouse.run(
        f"INSERT INTO shared_time_entries (tenant_id, entry_id, ticket_id, company_id, member_id, "
        f"member_name, work_type_name, billable_option, time_start, time_end, date_entered, "
        f"actual_hours, {names}) SELECT '{tenant}', leftPad(toString(number), 8, '0'), "
        f"leftPad(toString(number % {tickets}), 8, '0'), toString(number % {COMPANIES}), "
        f"toString(number % 40), concat('Technician ', toString(number % 40)), "
        f"concat('Work ', toString(number % 7)), if(number % 3 = 0, 'Billable', 'DoNotBill'), "
        f"began, began + 3600, began + 4000, number % 16 / 4, began, true, 1 "
        f"FROM (SELECT number, now64(3) - toIntervalSecond(number * {seconds // 3000} % {seconds}) "
        f"AS began FROM numbers({entries}))"
    )
    warehouse.run(
        f"INSERT INTO shared_companies (tenant_id, company_id, name, company_type, is_active, "
        f"number_of_employees, annual_revenue, {names}) SELECT '{tenant}', toString(number), "
        f"concat('Company ', toString(number)), concat('Segment ', toString(number % 4)), "
        f"number % 5 > 0, number, number * 1000, toDateTime64('2020-01-01', 3, 'UTC'), true, 1 "
        f"FROM numbers({COMPANIES})"
    )
    for table in ("tickets", "time_entries", "companies"):
        warehouse.run(f"OPTIMIZE TABLE shared_{table} PARTITION '{tenant}' FINAL")
    now = datetime.now(UTC)
    for table in ("companies", "tickets", "time_entries"):
        row = {
            "tenant_id": tenant,
            "table_name": table,
            "load_id": 1,
            "kind": "bulk",
            "finished_at": now,
            "newest_file": "bench/a.parquet",
            "newest_file_time": now - timedelta(hours=1),
        }
        warehouse.insert("load_log", list(row), [[value] for value in row.values()])


def _statements_of(page):
    """[(sql, parameters, settings)] of the statements that one cold page sends."""
    from django.core.cache import cache

    from analytics.warehouse.tenant_reader import TenantReader

    cache.clear()
    sent = []
    original = TenantReader._send

    def record(self, sql, bound):
        sent.append((sql, bound, self._settings()))
        return original(self, sql, bound)

    TenantReader._send = record
    try:
        page()
    finally:
        TenantReader._send = original
    return sent


def _runner(statements):
    """A function that sends the statements over one connection and returns their seconds."""
    from analytics.warehouse.pool import address

    client = address().client(read_timeout=60)
    return lambda: [
        timed(lambda: client.execute(sql, bound, settings=options))[0]  # noqa: B023
        for sql, bound, options in statements
    ]


def _p95(values):
    return quantiles(values, n=20, method="inclusive")[-1]


def _ms(seconds):
    return f"{seconds * 1000:,.0f} ms"
