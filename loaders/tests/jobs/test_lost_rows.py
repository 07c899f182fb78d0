"""Scratch tables that lose rows: no load builds on incomplete data."""

import pytest

from analytics.warehouse.catalog import TABLES
from analytics.warehouse.client import WarehouseClient
from common.tests.queues import impatient
from loaders.history import publishing as history_module
from loaders.jobs import worker
from loaders.models import LoadJob
from loaders.staging.scratch_tables import scratch_tables
from loaders.tests.crashing import before_statement
from loaders.tests.histories import load, row
from loaders.tests.jobs.test_kills import PUT, check_load_is_complete, check_reported_state
from loaders.tests.thoroughness import THOROUGH
from tenants.models import Tenant

pytestmark = [pytest.mark.slow, pytest.mark.django_db, pytest.mark.usefixtures("warehouse")]


@pytest.mark.parametrize("swap_above", [0, 1000])
@pytest.mark.parametrize("where", [128, -1])
@pytest.mark.parametrize("form", PUT)
def test_a_load_that_loses_rows_never_reports_success(
    lake, settings, monkeypatch, form, where, swap_above
):
    """As when a restart empties memory, or a power failure destroys the newest parts."""
    monkeypatch.setattr(LoadJob, "RETRY", impatient(LoadJob.RETRY))
    settings.LOAD_IN_MEMORY_MB = where
    monkeypatch.setattr(history_module, "SWAP_ABOVE", swap_above)
    states = set()
    first = 1 + 5 * (list(PUT).index(form) + (swap_above > 0))
    for number in range(1 if THOROUGH else first, 60, 1 if THOROUGH else 30):
        tenant = Tenant.objects.create(id=f"lost-{form}-{where}-{swap_above}-{number}", name="l")
        PUT[form](lake, tenant, "companies", f"a.{form}", [row("A", 1), row("X", 1, id="2")])
        load(tenant)
        PUT[form](lake, tenant, "companies", f"b.{form}", [row("B", 3), row("Y", 3, id="3")])
        with monkeypatch.context() as patch:
            lost = before_statement(patch, number, lambda tenant=tenant: lose(tenant))
            job = load(tenant)
        check_reported_state(job, tenant)
        states.add(job.state)
        if job.state == LoadJob.State.QUEUED:
            worker.run(job.pk)
        check_load_is_complete(job, tenant)
        if not lost():
            break
    assert not lost(), "not every statement was tried"
    assert not THOROUGH or states == {LoadJob.State.SUCCEEDED, LoadJob.State.QUEUED}


def lose(tenant):
    for name in scratch_tables(tenant, TABLES["companies"]):
        WarehouseClient().run(f"TRUNCATE TABLE `{name}`")
