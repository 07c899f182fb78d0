"""Cold and warm dashboards against the fewest statements that could answer the overview, and users
at once."""

import random
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

from benchmarks.histories import fill
from benchmarks.report import Figure, Section
from benchmarks.stack import timed

SIZES = (2_000, 100_000, 1_000_000)
OF_REPORT = 50_000
ROUNDS, WARM, USERS, EACH = 11, 40, 20, 5
FLOOR = Path(__file__).with_name("dashboard_floor.sql")
BARS = {"overview": 2.0, "service": 2.5, "people": 2.0, "customers": 2.0}
REPORT_BAR, WARM_BAR, MAX_STATEMENTS = 2.5, 40, 6


def measure():
    from django.conf import settings
    from django.test import Client

    from tenants.models import Membership, SlaTarget, Tenant, User

    settings.REQUEST_LIMITS = {kind: [10**6] * 4 for kind in settings.REQUEST_KINDS}
    user = User.objects.create_user("bench")
    sizes = {f"bench-{size}": size for size in (*SIZES, OF_REPORT)}
    for name, size in sizes.items():
        tenant = Tenant.objects.create(id=name, name=name, time_zone="Europe/Berlin")
        Membership.objects.create(user=user, tenant=tenant)
        for number in range(4):
            SlaTarget.objects.create(
                tenant=tenant,
                priority=f"Priority {number}",
                response_hours=1 + number,
                resolution_hours=24 * (1 + number),
            )
        fill(name, size)
    client = Client()
    client.force_login(user)
    figures, ratios = [], []
    for size in SIZES:
        floor, pages = _cold(client, f"bench-{size}")
        figures.append(Figure(f"{size:,} tickets: the floor", _ms(floor)))
        for slug, seconds in pages.items():
            ratio = seconds / floor
            ratios.append(ratio / BARS[slug])
            figures.append(
                Figure(
                    f"{size:,} tickets: {slug}, cold",
                    f"{_ms(seconds)}, **{ratio:.2f} ×** (bar: {BARS[slug]} ×)",
                )
            )
    warm = median(_fetch(client, f"bench-{SIZES[-1]}", "overview") for _ in range(WARM))
    statements = max(_statements(client, slug) for slug in BARS)
    floor, composed = _report(f"bench-{OF_REPORT}")
    errors, together = _many_at_once(user, list(sizes))
    return Section(
        "dashboard",
        f"Dashboards (last 30 days) of tenants with four versions for each ticket, ids that rise "
        f"with time and three time entries for each ticket; cold: median of {ROUNDS} requests, "
        f"each with an emptied cache, after the four statements of `benchmarks/{FLOOR.name}`, "
        f"sent bare one after the other (the floor); warm: {WARM} requests; then {USERS} users "
        f"at once on {len(sizes)} tenants, {EACH} pages each with a cache that is empty at first",
        [
            *figures,
            Figure(
                f"{SIZES[-1]:,} tickets: overview, warm",
                f"**{_ms(warm)}** (bar: {WARM_BAR} ms)",
            ),
            Figure("statements of a cold page, most", f"{statements} (bar: {MAX_STATEMENTS})"),
            Figure(
                f"{OF_REPORT:,} tickets: figures of a report of the overview",
                f"{_ms(composed)}, **{composed / floor:.2f} ×** (bar: {REPORT_BAR} ×)",
            ),
            Figure(f"{USERS} users at once: errors", f"{errors} of {USERS * EACH} pages"),
            Figure(f"{USERS} users at once: page, p95", _ms(_p95(together))),
        ],
        passed=max(ratios) <= 1
        and warm * 1000 < WARM_BAR
        and statements <= MAX_STATEMENTS
        and composed / floor <= REPORT_BAR
        and not errors,
    )


def _cold(client, tenant):
    """(median seconds of the floor, {dashboard: median seconds of its page})."""
    from django.core.cache import cache

    floor = _floor(tenant)
    bare, pages = [], {slug: [] for slug in BARS}
    for slug in BARS:  # connections and the engine's caches
        _fetch(client, tenant, slug)
    for _ in range(ROUNDS):
        bare.append(floor())
        for slug, seconds in pages.items():
            cache.clear()
            seconds.append(_fetch(client, tenant, slug))
    return median(bare), {slug: median(seconds) for slug, seconds in pages.items()}


def _floor(tenant):
    """A function that sends the floor's statements over one connection; returns its seconds."""
    from django.utils import timezone

    from analytics.periods import preset
    from analytics.warehouse.pool import address
    from analytics.warehouse.tenant_reader import TenantReader, tenant_filters
    from tenants.models import Tenant

    reader = TenantReader(Tenant.objects.get(pk=tenant))
    period = preset("last-30-days", reader.tenant.zone, timezone.now())
    ends = [period.previous.ends_at, *(bucket.ends_at for bucket in period.buckets())]
    instants = [end - timedelta(milliseconds=1) for end in ends]
    bound = reader._bound(
        "",
        {
            "as_of": period.ends_at,
            "first_at": period.previous.starts_at,
            "last_at": period.ends_at,
            "zone": period.zone.key,
            "instants": [f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}" for at in instants],
        },
    )
    text = re.sub(r"--.*", "", FLOOR.read_text())
    statements = [each.strip() for each in text.split(";") if each.strip()]
    client = address().client(read_timeout=60)

    bare = {"additional_table_filters": tenant_filters(tenant)}  # and the engine's own threads

    def send():
        for sql in statements:
            client.execute(sql, bound, settings=bare)

    return lambda: timed(send)[0]


def _fetch(client, tenant, slug):
    """Seconds of a whole page."""
    started = perf_counter()
    response = client.get(f"/t/{tenant}/board/{slug}/")
    assert response.status_code == 200
    page = b"".join(response.streaming_content)
    seconds = perf_counter() - started
    assert b"</html>" in page
    assert b"Failed:" not in page
    return seconds


def _statements(client, slug):
    """How many statements a cold page sends."""
    from django.core.cache import cache

    from analytics.warehouse.tenant_reader import TenantReader

    cache.clear()
    sent = []
    original = TenantReader._send

    def note(self, sql, bound):
        sent.append(sql)
        return original(self, sql, bound)

    TenantReader._send = note
    try:
        _fetch(client, f"bench-{SIZES[0]}", slug)
    finally:
        TenantReader._send = original
    return len(sent)


def _report(tenant):
    """(median seconds of the floor, of composing a report of the overview)."""
    from django.core.cache import cache
    from django.utils import timezone

    from analytics.reports.content import compose, scoped_tiles
    from analytics.reports.models import Report
    from tenants.models import Tenant

    owner = Tenant.objects.get(pk=tenant)
    report = Report(tenant=owner, name="Weekly", dashboard="overview", period="last-30-days")
    floor, bare, composed = _floor(tenant), [], []
    for _ in range(ROUNDS):
        bare.append(floor())
        cache.clear()
        now = timezone.now()
        composed.append(timed(lambda: compose(report, scoped_tiles(report), now, now))[0])  # noqa: B023
    return median(bare), median(composed)


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
                found.append(_fetch(clients[number], tenant, "overview"))
            except Exception as error:
                print(f"  {type(error).__name__}: {error}")
                errors += 1
        connections.close_all()
        return errors, found

    with ThreadPoolExecutor(USERS) as threads:
        answers = list(threads.map(visit, range(USERS)))
    return sum(errors for errors, _ in answers), [each for _, found in answers for each in found]


def _p95(values):
    return quantiles(values, n=20, method="inclusive")[-1]


def _ms(seconds):
    return f"{seconds * 1000:,.0f} ms"
