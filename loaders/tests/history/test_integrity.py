"""Every kind of fault in history is found, reported and, if possible, repaired."""

from datetime import timedelta

import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.utils import timezone

from analytics.warehouse.catalog import TABLES
from analytics.warehouse.client import WarehouseClient
from analytics.warehouse.errors import Unavailable, Unreachable
from common.tests.queues import impatient, lose, make_due
from loaders import tasks
from loaders.history import integrity
from loaders.history.integrity import check
from loaders.jobs import queue, worker
from loaders.models import IntegrityCheck, LoadedFile, LoadJob
from loaders.staging.scratch_tables import ScratchTables, scratch_tables
from loaders.tests.histories import deliver, history, load, remove, row, stored
from loaders.tests.injuries import fail_to_log
from loaders.tests.lakes import put_jsonl
from tenants.models import Alert

pytestmark = pytest.mark.usefixtures("warehouse")

SOUND = [("A", 1, 3), ("B", 3, 5), ("C", 5, None)]


@pytest.fixture
def loaded(acme, lake):
    """One company with three versions and one with one, by two loads."""
    deliver(lake, acme, "a.jsonl", row("A", 1), row("B", 3), row("X", 1, id="2"))
    deliver(lake, acme, "b.jsonl", row("C", 5))
    assert history(acme) == SOUND
    return acme


def corrupt(tenant, change, where):
    """Corrupt rows in the warehouse, as no load would."""
    WarehouseClient().run(
        f"UPDATE shared_companies SET {change} WHERE tenant_id = {{t:String}} AND {where}",
        {"t": tenant.id},
    )


def faults(tenant):
    return {fault["check"]: fault["count"] for fault in check(tenant, TABLES["companies"]).faults}


def repair(tenant, **options):
    return load(tenant, kind=LoadJob.Kind.REPAIR, **options)


def test_the_nightly_check_resumes_where_it_stopped(loaded, globex, monkeypatch):
    checked = []

    def note(tenant, table):
        if len(checked) == 3:
            raise Unreachable("away")
        checked.append((tenant.id, table.name))
        return check(tenant, table)

    monkeypatch.setattr(integrity, "check", note)
    with pytest.raises(Unreachable):
        tasks.check_integrity(older_than_hours=20)
    checked.append("the outage is over")
    tasks.check_integrity(older_than_hours=20)
    assert len(set(checked)) == len(checked) == 2 * len(TABLES) + 1
    tasks.check_integrity(older_than_hours=20)
    assert len(checked) == 2 * len(TABLES) + 1, "nothing is due"


def test_a_check_dated_in_the_future_does_not_count(loaded):
    """A clock that ran ahead recorded it."""
    check(loaded, TABLES["companies"])
    IntegrityCheck.objects.update(checked_at=timezone.now() + timedelta(days=300))
    due = integrity.due(timezone.now() - timedelta(hours=20))
    assert (loaded, TABLES["companies"]) in list(due)


def test_a_table_that_cannot_be_checked_does_not_stop_the_others(loaded, globex, monkeypatch):
    find = integrity.find_faults

    def refuse_one(tenant, table):
        if (tenant, table.name) == (loaded, "companies"):
            raise Unavailable("out of memory")
        return find(tenant, table)

    with monkeypatch.context() as patch:
        patch.setattr(integrity, "find_faults", refuse_one)
        assert tasks.check_integrity(older_than_hours=20) == 0
    assert IntegrityCheck.objects.count() == 2 * len(TABLES) - 1
    assert not Alert.objects.exists()
    due = integrity.due(timezone.now() - timedelta(hours=20))
    assert list(due) == [(loaded, TABLES["companies"])]


def test_history_made_by_loads_has_no_faults(loaded):
    found = check(loaded, TABLES["companies"])
    assert found.is_sound, found.faults
    assert (found.versions, found.keys) == (4, 2)


@pytest.mark.parametrize(
    ("change", "where", "expected"),
    [
        ("expiry_date = '2026-01-04'", "status = 'A'", "overlap"),
        ("expiry_date = '2026-01-02'", "status = 'A'", "gap"),
        ("expiry_date = '2026-02-01', is_current = false", "status = 'C'", "gap"),
        ("is_current = false", "status = 'C'", "current_flag"),
        ("is_current = true", "status = 'B'", "several_current"),
        ("expiry_date = effective_date, is_current = false", "company_id = '1'", "none_visible"),
        ("expiry_date = '2025-01-01'", "status = 'B'", "expiry"),
        ("record_hash = 'wrong'", "status = 'C'", "hash"),
        ("name = 'slipped in'", "status = 'C'", "hash"),
    ],
)
def test_a_fault_is_found_and_repaired(loaded, change, where, expected):
    corrupt(loaded, change, where)
    assert expected in faults(loaded)
    before = stored(loaded, "*")
    preview = repair(loaded, dry_run=True)
    assert preview.notes[0].startswith("Would repair: ")
    assert stored(loaded, "*") == before
    done = repair(loaded)
    assert done.state == LoadJob.State.SUCCEEDED, done.error
    assert done.notes[0].startswith("Repaired: ")
    assert faults(loaded) == {}
    assert history(loaded) == SOUND
    assert repair(loaded).notes == ["There is nothing to repair."]


@pytest.mark.parametrize("code", [0x00, 0x01, 0x0B, 0x1F, 0xFFFE, 0xFFFF])
@pytest.mark.parametrize("column", ["name", "company_id"])
def test_control_characters_that_an_earlier_version_stored_are_found(loaded, code, column):
    """A bulk load replaces them."""
    text = f"concat('x', unhex('{chr(code).encode().hex()}'))"
    WarehouseClient().run(
        f"INSERT INTO shared_companies SELECT * REPLACE ({text} AS {column}) "
        "FROM shared_companies WHERE tenant_id = {t:String}",
        {"t": loaded.id},
    )
    found = check(loaded, TABLES["companies"])
    [fault] = [each for each in found.faults if each["check"] == "control_characters"]
    assert fault["count"] == 4
    assert "bulk" in fault["advice"]
    load(loaded, kind=LoadJob.Kind.BULK)
    assert faults(loaded) == {}


def test_tabs_and_line_ends_in_text_are_no_fault(acme, lake):
    deliver(lake, acme, "a.jsonl", row("A", 1, name="a\tb\r\nc"))
    assert faults(acme) == {}


def test_rows_of_a_load_that_failed_are_removed(loaded):
    columns = "tenant_id, company_id, effective_date, expiry_date, is_current, load_id"
    WarehouseClient().run(
        f"INSERT INTO shared_companies ({columns}, record_hash) "
        "SELECT {t:String}, '1', toDateTime64('2026-01-09', 3, 'UTC'), "
        "toDateTime64('2026-01-08', 3, 'UTC'), false, 999999, hex(1)",
        {"t": loaded.id},
    )
    assert "orphaned" in faults(loaded)
    repair(loaded)
    assert faults(loaded) == {}
    assert stored(loaded) == [(4,)]


def test_versions_stored_twice_are_found_and_deduplicated(loaded):
    WarehouseClient().run(
        "INSERT INTO shared_companies SELECT * FROM shared_companies "
        "WHERE tenant_id = {t:String} AND status = 'C'",
        {"t": loaded.id},
    )
    assert {"duplicate", "several_current", "counts"} <= faults(loaded).keys()
    repair(loaded)
    assert faults(loaded) == {}
    assert history(loaded) == SOUND


def test_lost_versions_show_in_the_counts(loaded):
    WarehouseClient().run(
        "DELETE FROM shared_companies IN PARTITION {t:String} WHERE company_id = '2'",
        {"t": loaded.id},
    )
    found = check(loaded, TABLES["companies"])
    [fault] = found.faults
    assert "added 3 versions, of which 2 are stored" in fault["what"]
    assert not fault["is_repairable"]


def test_dates_in_the_future_are_reported_but_not_changed(loaded, lake):
    deliver(lake, loaded, "c.jsonl", row("soon", 1, updated_at="2099-01-01T00:00:00Z"))
    found = check(loaded, TABLES["companies"])
    [fault] = found.faults
    assert (fault["check"], fault["keys"]) == ("future", ["1"])
    assert "upstream" in fault["advice"]


def test_what_a_full_refresh_closed_stays_closed(loaded, lake):
    remove(lake, loaded, "b.jsonl")
    remove(lake, loaded, "a.jsonl")
    deliver(
        lake,
        loaded,
        "c.jsonl",
        row("X", 1, id="2"),
        kind=LoadJob.Kind.REFRESH,
        vanished=LoadJob.Vanished.CLOSE,
    )
    closed = history(loaded)
    assert closed[-1][2] is not None
    assert faults(loaded) == {}
    corrupt(loaded, "is_current = true", "status = 'A'")
    repair(loaded)
    assert history(loaded) == closed


def test_a_repair_does_not_reopen_the_version_before_a_lost_one(loaded, lake):
    """The current version was deleted: what was valid before it is not valid now."""
    WarehouseClient().run(
        "DELETE FROM shared_companies IN PARTITION {t:String} WHERE status = 'C'", {"t": loaded.id}
    )
    assert {"gap", "counts"} <= faults(loaded).keys()
    job = repair(loaded)
    assert history(loaded) == [("A", 1, 3), ("B", 3, 5)]
    assert "Load everything again (bulk)" in job.notes[-1]
    assert {"gap", "counts"} <= faults(loaded).keys(), "still a fault"
    load(loaded)  # its file is recent enough to be examined again
    assert history(loaded) == SOUND


def test_text_that_is_not_utf8_is_found(loaded):
    corrupt(loaded, "name = unhex('4DFC')", "status = 'C'")
    [fault] = [
        each for each in check(loaded, TABLES["companies"]).faults if each["check"] == "encoding"
    ]
    assert (fault["count"], fault["keys"], fault["is_repairable"]) == (1, ["1"], False)


def test_a_repair_that_leaves_no_rows_succeeds(acme):
    """The table holds only rows of a failed load."""
    WarehouseClient().run(
        "INSERT INTO shared_companies "
        "(tenant_id, company_id, effective_date, expiry_date, load_id) SELECT {t:String}, '1', "
        "toDateTime64('2026-01-09', 3, 'UTC'), toDateTime64('2026-01-08', 3, 'UTC'), 999999",
        {"t": acme.id},
    )
    assert "orphaned" in faults(acme)
    job = repair(acme)
    assert (job.state, job.error) == (LoadJob.State.SUCCEEDED, "")
    assert job.notes[0].startswith("Repaired: 1 rows")
    assert stored(acme) == [(0,)]
    assert faults(acme) == {}


def test_a_failed_repair_does_not_claim_success(loaded, monkeypatch):
    corrupt(loaded, "is_current = false", "status = 'C'")
    monkeypatch.setattr(ScratchTables, "swap_in", lambda self, side: 1 / 0)
    job = repair(loaded)
    assert job.state != LoadJob.State.SUCCEEDED
    assert job.notes == []


def test_scratch_tables_of_crashed_loads_are_removed_and_reported(loaded):
    job = LoadJob.objects.create(tenant=loaded, table="companies", state=LoadJob.State.RUNNING)
    for load_id in (999_999, job.pk):
        WarehouseClient().run(
            f"CREATE TABLE `stage:{loaded.id}:companies:{load_id}:1:staged` AS shared_companies"
        )
    found = check(loaded, TABLES["companies"])
    assert found.is_sound
    assert found.notes == ["Removed 1 scratch table of crashed loads (load 999999)."]
    assert scratch_tables(loaded, TABLES["companies"]) == [
        f"stage:{loaded.id}:companies:{job.pk}:1:staged"
    ]
    assert check(loaded, TABLES["companies"]).notes == []


def test_rows_of_a_file_that_were_never_read_are_found(loaded):
    """The rows that a file holds are recorded apart from the rows read."""
    file = LoadedFile.objects.filter(job__tenant=loaded).order_by("pk").first()
    assert file.rows_in_file == file.rows_read == 3
    LoadJob.objects.filter(pk=file.job_id).update(
        rows_read=0, rows_loaded=0, rows_new=0, rows_changed=0
    )
    LoadedFile.objects.filter(pk=file.pk).update(rows_read=0)
    [fault] = check(loaded, TABLES["companies"]).faults
    assert "its files hold 3 rows, of which 0 were read" in fault["what"]


def test_a_fault_raises_one_alert_until_it_is_over(
    loaded, settings, django_capture_on_commit_callbacks
):
    settings.ADMINS = [("ops", "ops@example.com")]
    corrupt(loaded, "is_current = false", "status = 'C'")
    for _ in range(2):
        with django_capture_on_commit_callbacks(execute=True):
            check(loaded, TABLES["companies"])
    [alert] = Alert.objects.filter(tenant=loaded)
    assert alert.over_at is None
    [message] = mail.outbox
    assert "current flag" in message.body
    repair(loaded)
    check(loaded, TABLES["companies"])
    alert.refresh_from_db()
    assert alert.over_at


def test_a_failed_load_raises_an_alert_until_one_succeeds(acme, lake):
    load(acme)
    assert Alert.objects.filter(tenant=acme, kind="load", over_at=None).count() == 1
    deliver(lake, acme, "a.jsonl", row("A", 1))
    assert not Alert.objects.filter(tenant=acme, over_at=None).exists()


def test_the_command_checks_repairs_and_reports(loaded, capsys):
    arguments = {"tenant": [loaded.id], "table": ["companies"]}
    call_command("warehouse_integrity", **arguments)
    assert "sound, 4 versions of 2 keys" in capsys.readouterr().out
    corrupt(loaded, "is_current = false", "status = 'C'")
    with pytest.raises(CommandError, match="1 table has faults"):
        call_command("warehouse_integrity", **arguments, repair=True, dry_run=True)
    assert "Would repair: 1 versions with a wrong validity." in capsys.readouterr().out
    call_command("warehouse_integrity", **arguments, repair=True)
    assert "sound" in capsys.readouterr().out.splitlines()[-1]
    with pytest.raises(CommandError, match="No active tenant: unknown"):
        call_command("warehouse_integrity", tenant=["unknown"])


def test_the_command_reports_that_the_warehouse_is_down(loaded, settings):
    settings.CLICKHOUSE_URL = "clickhouse://default@127.0.0.1:1/avesa"
    with pytest.raises(CommandError, match="cannot be reached"):
        call_command("warehouse_integrity", tenant=[loaded.id])


def test_a_load_whose_workers_all_die_raises_an_alert(acme):
    job = queue.request_load(acme, TABLES["companies"])
    for _ in range(LoadJob.RETRY.attempts):
        make_due(LoadJob)
        assert queue.claim(job.pk)
        lose(LoadJob)
        queue.sweep()
    assert Alert.objects.filter(tenant=acme, kind="load", over_at=None).exists()


def test_a_repair_does_not_end_the_alert_of_a_load(loaded, lake):
    remove(lake, loaded, "a.jsonl")
    remove(lake, loaded, "b.jsonl")
    load(loaded)
    repair(loaded, dry_run=True)
    assert Alert.objects.filter(tenant=loaded, kind="load", over_at=None).exists()


def test_a_retried_load_counts_the_versions_it_added(acme, lake, monkeypatch):
    monkeypatch.setattr(LoadJob, "RETRY", impatient(LoadJob.RETRY))
    put_jsonl(lake, acme, "companies", "a.jsonl", [row("A", 1)])
    with monkeypatch.context() as patch:
        fail_to_log(patch)
        job = load(acme)
    worker.run(job.pk)
    job.refresh_from_db()
    assert (job.rows_new, job.rows_unchanged) == (1, 0)
    assert check(acme, TABLES["companies"]).is_sound
