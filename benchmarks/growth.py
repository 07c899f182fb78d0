"""The same batch, mostly recent tickets, with a growing number of current tickets."""

import random
from statistics import median

from benchmarks.loading import (
    CHANGED,
    NEW,
    SAME,
    only_new_files,
    put_base,
    put_batch,
    run_load,
    tidy,
)
from benchmarks.report import Figure, Section
from benchmarks.stack import timed
from benchmarks.tickets import rising_keys

SIZES = (100_000, 1_000_000, 5_000_000)
ROUNDS = 5
BAR = 2.0
RECENT = 0.9  # of the batch, among the newest 90,000 tickets


def measure():
    from tenants.models import Tenant

    only_new_files()
    seconds = []
    for size in SIZES:
        tenant = Tenant.objects.create(id=f"bench-{size}", name="Bench")
        put_base(tenant, size, rising_keys)
        run_load(tenant)
        rounds = []
        for edition in range(ROUNDS + 1):
            put_batch(tenant, edition + 1, rising_keys, size, _mostly_recent(size))
            taken, job = timed(lambda tenant=tenant: run_load(tenant))
            rounds.append(taken)
            tidy(tenant, job)
        seconds.append(median(rounds[1:]))
    ratio = seconds[-1] / seconds[0]
    return Section(
        "growth",
        f"A batch of {SAME + CHANGED + NEW:,} tickets, {RECENT:.0%} of them among the newest, "
        f"through the load job, against the number of current tickets; median of {ROUNDS} rounds",
        [
            *(
                Figure(f"{size:,} current", f"{each * 1000:.0f} ms, {each / seconds[0]:.2f} ×")
                for size, each in zip(SIZES, seconds, strict=True)
            ),
            Figure("**from first to last**", f"**{ratio:.2f}** (bar: ≤ {BAR:.0f})"),
        ],
        passed=ratio <= BAR,
    )


def _mostly_recent(size):
    def known(edition, count):
        chooser = random.Random(edition)  # noqa: S311
        recent = chooser.sample(range(size - 90_000, size), int(count * RECENT))
        older = chooser.sample(range(size - 90_000), count - len(recent))
        chosen = [*recent, *older]
        chooser.shuffle(chosen)
        return chosen

    return known
