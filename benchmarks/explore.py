"""Pages of a long list: the first page against later pages."""

from dataclasses import replace
from statistics import median

from benchmarks.report import Figure, Section
from benchmarks.stack import timed

TICKETS, ROUNDS = 10_000_000, 7
BAR = 2.0
SPAN = 200_000_000  # seconds, about six years


def measure():
    from analytics.records import listing
    from analytics.warehouse.catalog import TICKETS as TABLE
    from tenants.models import Tenant

    tenant = Tenant.objects.create(id="bench", name="Bench", time_zone="Europe/Berlin")
    _fill()
    figures, worst = [], 0.0
    for sort in ("-created_date", "ticket_id", "summary"):
        wanted = listing.listing(TABLE, sort=sort)
        cursors = {"first": "", **_cursors(listing, wanted)}
        spent = {name: _seconds(listing, tenant, wanted, after) for name, after in cursors.items()}
        ratio = max(spent.values()) / spent["first"]
        worst = max(worst, ratio)
        timings = ", ".join(f"{name} {seconds * 1000:,.0f} ms" for name, seconds in spent.items())
        figures.append(Figure(f"by `{sort}`", f"{timings}: {ratio:.2f} ×"))
    return Section(
        "explore",
        f"Pages of {listing.PAGE} of {TICKETS:,} tickets: the first, one in the middle, one near "
        f"the end; median of {ROUNDS}",
        [*figures, Figure("**slowest / first**", f"**{worst:.2f}** (bar: ≤ {BAR:.0f})")],
        passed=worst <= BAR,
    )


def _seconds(listing, tenant, wanted, after):
    wanted = replace(wanted, after=after)
    return median(timed(lambda: listing.page(tenant, wanted))[0] for _ in range(ROUNDS))


def _cursors(listing, wanted):
    """Cursors after half and after 99 % of the records."""
    from analytics.warehouse.client import WarehouseClient

    key, column = wanted.table.key, wanted.sorted_column.name
    direction = "DESC" if wanted.is_descending else "ASC"
    found = {}
    for name, share in (("middle", 0.5), ("end", 0.99)):
        [(record, value)] = WarehouseClient().rows(
            f"SELECT {key}, {column} AS value FROM shared_tickets WHERE tenant_id = 'bench' "
            f"ORDER BY value {direction}, {key} LIMIT 1 OFFSET {int(TICKETS * share)}"
        )
        found[name] = listing.cursor(wanted, {key: record, column: value})
    return found


def _fill():
    from analytics.warehouse.client import WarehouseClient

    part = TICKETS // 10
    for number in range(10):
        WarehouseClient().run(
            f"INSERT INTO shared_tickets (tenant_id, ticket_id, ticket_number, summary, status, "
            f"priority, company_name, board_name, owner_name, created_date, effective_date, "
            f"is_current) SELECT 'bench', leftPad(toString(number), 9, '0'), toString(number), "
            f"concat('Summary ', toString(cityHash64(number) % 1000000)), 'Closed', 'Low', "
            f"concat('Company ', toString(number % 500)), 'Help Desk', 'Ann', "
            f"now64(3) - toIntervalSecond(cityHash64(number) % {SPAN}), "
            f"toDateTime64('2026-01-01', 3, 'UTC'), true FROM numbers({number * part}, {part})"
        )
    WarehouseClient().run("OPTIMIZE TABLE shared_tickets PARTITION 'bench' FINAL")
