"""Loading one of 200 tenants in a table, against loading the only tenant."""

from statistics import median

from benchmarks.loading import only_new_files, put_base, put_batch, run_load, tidy
from benchmarks.report import Figure, Section
from benchmarks.stack import timed
from benchmarks.tickets import shuffled_keys

TENANTS, ROWS, ROUNDS = 200, 100_000, 9
OTHERS = 2_000
BAR = 1.2


def measure():
    from tenants.models import Tenant

    only_new_files()
    tenant = Tenant.objects.create(id="bench", name="Bench")
    put_base(tenant, ROWS, shuffled_keys)
    run_load(tenant)
    alone = _rounds(tenant, 1)
    for number in range(1, TENANTS):
        other = Tenant.objects.create(id=f"other-{number}", name="Other")
        put_base(other, OTHERS, shuffled_keys, files=1)
        run_load(other)
    among = _rounds(tenant, 1 + ROUNDS)
    ratio = among / alone
    return Section(
        "many-tenants",
        f"A batch into the {ROWS:,} tickets of one tenant, alone in the table and among "
        f"{TENANTS} tenants; median of {ROUNDS} rounds each",
        [
            Figure("alone", f"{alone * 1000:.0f} ms"),
            Figure(f"among {TENANTS}", f"{among * 1000:.0f} ms"),
            Figure("**among others / alone**", f"**{ratio:.2f}** (bar: ≤ {BAR})"),
        ],
        passed=ratio <= BAR,
    )


def _rounds(tenant, first):
    seconds = []
    for edition in range(first, first + ROUNDS):
        put_batch(tenant, edition, shuffled_keys, ROWS, _spread)
        taken, job = timed(lambda: run_load(tenant))
        seconds.append(taken)
        tidy(tenant, job)
    return median(seconds)


def _spread(edition, count):
    first = edition * 3_000
    return range(first, first + count)
