import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import reverse
from kombu.exceptions import OperationalError

from analytics.warehouse.catalog import TABLES
from loaders import tasks
from loaders.admin.progress import STATE_COLORS
from loaders.history import integrity
from loaders.jobs import queue, worker
from loaders.models import IntegrityCheck, LoadedFile, LoadJob, PipelineRun
from loaders.tests.lakes import put_bytes, put_jsonl
from tenants.models import ApiToken, Tenant, User


@pytest.fixture
def staff(client, dora):
    client.force_login(dora)
    return client


@pytest.fixture
def finished(acme, lake, warehouse):
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}, {"name": "x", "updated_at": "?"}])
    put_bytes(lake, acme, "companies", "b.parquet", b"broken")
    job = queue.request_load(acme, TABLES["companies"])
    worker.run(job.pk)
    job.refresh_from_db()
    return job


def test_staff_choose_tenants_and_tables_and_load(staff, acme, globex):
    url = reverse("admin:loaders_start")
    assert acme.name in staff.get(url).content.decode()
    chosen = {
        "tenants": [acme.id, globex.id],
        "tables": ["companies", "tickets"],
        "kind": "refresh",
        "vanished": "close",
        "vanished_limit": 20,
    }
    assert staff.post(url, chosen).url == reverse("admin:loaders_loadjob_changelist")
    assert LoadJob.objects.filter(state=LoadJob.State.QUEUED).count() == 4
    page = staff.post(url, chosen, follow=True).content.decode()
    assert "already active" in page
    assert LoadJob.objects.count() == 4


def test_the_list_shows_states_and_counts(staff, finished):
    page = staff.get(reverse("admin:loaders_loadjob_changelist")).content.decode()
    assert "Succeeded" in page
    assert "every 2s" not in page


def test_the_list_marks_dry_runs_and_names_who_canceled_a_load(staff, acme, finished):
    job = queue.request_load(acme, TABLES["tickets"], dry_run=True)
    staff.post(reverse("admin:loaders_cancel", args=[job.pk]))
    page = staff.get(reverse("admin:loaders_loadjob_changelist"), {"q": "tickets"}).content.decode()
    assert "Incremental (test)" in page
    assert "Canceled by dora." in page
    assert "companies</" not in page
    page = staff.get(reverse("admin:loaders_loadjob_changelist")).content.decode()
    assert "1 new" in page


def test_every_state_has_a_color():
    assert {*LoadJob.State.values, *LoadedFile.State.values} == STATE_COLORS.keys()


def test_the_list_refreshes_itself_while_a_job_is_active(staff, acme):
    queue.request_load(acme, TABLES["companies"])
    page = staff.get(reverse("admin:loaders_loadjob_changelist")).content.decode()
    assert "every 2s" in page


def test_a_job_shows_its_files_and_errors(staff, finished):
    page = staff.get(reverse("admin:loaders_loadjob_change", args=[finished.pk])).content.decode()
    assert "a.jsonl" in page
    assert "b.parquet" in page
    assert "Not a readable Parquet file" in page


def test_a_job_shows_its_rejects(staff, finished):
    page = staff.get(reverse("admin:loaders_rejects", args=[finished.pk])).content.decode()
    assert "the business key is missing" in page
    assert "not a date and time" in page


def test_all_rejects_are_downloaded(staff, finished, client, bob):
    answer = staff.get(reverse("admin:loaders_rejects_file", args=[finished.pk]))
    lines = b"".join(answer.streaming_content).decode("utf-8-sig").splitlines()
    assert lines[0] == "source_file,source_row,row_key,column_name,value,reason"
    assert len(lines) - 1 >= finished.rows_rejected > 0
    assert "the business key is missing" in "".join(lines)
    bob.is_staff = True
    bob.save()
    client.force_login(bob)
    url = reverse("admin:loaders_rejects_file", args=[finished.pk])
    assert client.get(url).status_code == 403


def test_the_page_of_rejects_shows_that_the_warehouse_is_down(staff, finished, settings):
    settings.CLICKHOUSE_URL = "clickhouse://default@127.0.0.1:1/avesa"
    page = staff.get(reverse("admin:loaders_rejects", args=[finished.pk])).content.decode()
    assert "cannot be reached" in page


def test_load_again_and_cancel_need_a_post(staff, finished):
    for name in ("again", "cancel"):
        url = reverse(f"admin:loaders_{name}", args=[finished.pk])
        assert staff.get(url).status_code == 405
    staff.post(reverse("admin:loaders_again", args=[finished.pk]))
    queued = LoadJob.objects.get(state=LoadJob.State.QUEUED)
    assert queued.requested_by.username == "dora"
    staff.post(reverse("admin:loaders_cancel", args=[queued.pk]))
    queued.refresh_from_db()
    assert queued.state == LoadJob.State.CANCELED


def test_jobs_and_files_cannot_be_edited_or_deleted(staff, finished):
    for model in ("loadjob", "loadedfile"):
        assert staff.get(reverse(f"admin:loaders_{model}_add")).status_code == 403
    url = reverse("admin:loaders_loadjob_delete", args=[finished.pk])
    assert staff.post(url).status_code == 403


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_members_cannot_open_the_admin(client, request, name, finished):
    client.force_login(request.getfixturevalue(name))
    for url in (
        reverse("admin:loaders_start"),
        reverse("admin:loaders_rejects", args=[finished.pk]),
        reverse("admin:loaders_loadjob_changelist"),
    ):
        assert client.get(url).status_code == 302


@pytest.mark.parametrize(
    "page",
    [
        "index",
        "tenants_tenant_changelist",
        "tenants_tenant_add",
        "tenants_membership_changelist",
        "tenants_membership_add",
        "tenants_user_changelist",
        "tenants_user_add",
        "tenants_apitoken_add",
        "loaders_loadedfile_changelist",
        "loaders_pipelinerun_changelist",
        "loaders_run",
    ],
)
def test_every_admin_page_opens(staff, finished, page):
    assert staff.get(reverse(f"admin:{page}")).status_code == 200


@pytest.fixture
def clerk(client, django_user_model):
    """Staff without permissions; the returned function grants some."""
    user = django_user_model.objects.create_user("clerk", is_staff=True)
    client.force_login(user)

    def grant(*names):
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
        return client

    return grant


def _answers(client, job):
    again, cancel, rejects = (
        reverse(f"admin:loaders_{name}", args=[job.pk]) for name in ("again", "cancel", "rejects")
    )
    return {
        "start": client.get(reverse("admin:loaders_start")).status_code,
        "rejects": client.get(rejects).status_code,
        "again": client.post(again).status_code,
        "cancel": client.post(cancel).status_code,
    }


def test_staff_without_permissions_can_neither_load_nor_view(clerk, finished):
    assert set(_answers(clerk(), finished).values()) == {403}


def test_staff_who_may_view_may_not_act(clerk, finished):
    client = clerk("view_loadjob")
    answers = _answers(client, finished)
    assert answers.pop("rejects") == 200
    assert set(answers.values()) == {403}
    page = client.get(reverse("admin:loaders_loadjob_change", args=[finished.pk]))
    assert "Load again" not in page.content.decode()


def test_staff_who_may_run_loads_can(clerk, finished):
    answers = _answers(clerk("view_loadjob", "run_loadjob"), finished)
    assert answers == {"start": 200, "rejects": 200, "again": 302, "cancel": 302}


def test_viewing_tokens_does_not_allow_revoking_them(clerk, acme):
    token, _ = ApiToken.issue(acme, "test")
    url = reverse("admin:tenants_apitoken_changelist")
    data = {"action": "revoke", "_selected_action": [token.pk]}
    clerk("view_apitoken").post(url, data)
    token.refresh_from_db()
    assert token.revoked_at is None
    clerk("view_apitoken", "change_apitoken").post(url, data)
    token.refresh_from_db()
    assert token.revoked_at


def test_a_url_with_an_invalid_job_id_redirects(staff):
    assert staff.get("/admin/loaders/loadjob/abc/change/").status_code == 302


def test_only_staff_who_may_repair_can_repeat_a_repair(client, acme):
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(
        *Permission.objects.filter(codename__in=["run_loadjob", "view_loadjob"])
    )
    client.force_login(clerk)
    job = queue.request_load(acme, TABLES["companies"], LoadJob.Kind.REPAIR)
    queue.cancel(job)
    again = reverse("admin:loaders_again", args=[job.pk])
    assert client.post(again).status_code == 403
    clerk.user_permissions.add(Permission.objects.get(codename="repair_history"))
    assert client.post(again).status_code == 302


# --- Each action leaves an entry with its user


def _entries():
    found = LogEntry.objects.order_by("pk").values_list(
        "user__username", "content_type__model", "object_id", "change_message"
    )
    return list(found)


def test_starting_repeating_and_canceling_loads_leaves_entries(staff, acme, finished):
    chosen = {"tenants": [acme.id], "tables": ["tickets"], "kind": "incremental"}
    staff.post(reverse("admin:loaders_start"), chosen | {"vanished": "close", "vanished_limit": 20})
    started = LoadJob.objects.latest("pk")
    for _ in range(2):  # the second time there is nothing to cancel
        staff.post(reverse("admin:loaders_cancel", args=[started.pk]))
    staff.post(reverse("admin:loaders_again", args=[finished.pk]))
    again = LoadJob.objects.latest("pk")
    data = {"action": "cancel_selected", "_selected_action": [again.pk]}
    staff.post(reverse("admin:loaders_loadjob_changelist"), data)
    assert _entries() == [
        ("dora", "loadjob", str(started.pk), "Requested."),
        ("dora", "loadjob", str(started.pk), "Canceled."),
        ("dora", "loadjob", str(again.pk), "Requested."),
        ("dora", "loadjob", str(again.pk), "Canceled."),
    ]


def test_starting_and_canceling_runs_leaves_entries(staff, acme):
    staff.post(reverse("admin:loaders_run"), {"tenants": [acme.id], "kind": "incremental"})
    run = PipelineRun.objects.get()
    staff.post(reverse("admin:loaders_cancel_run", args=[run.pk]))
    assert _entries() == [
        ("dora", "pipelinerun", str(run.pk), "Requested."),
        ("dora", "pipelinerun", str(run.pk), "Canceled."),
    ]


def test_checks_and_repairs_leave_entries(staff, finished, monkeypatch):
    monkeypatch.setattr(tasks.check_table, "delay", lambda *place: None)
    _check_selected(staff)
    check = IntegrityCheck.objects.get()
    data = {"action": "repair", "_selected_action": [check.pk]}
    staff.post(reverse("admin:loaders_integritycheck_changelist"), data)
    job = LoadJob.objects.latest("pk")
    assert _entries() == [
        ("dora", "integritycheck", str(check.pk), "Check requested."),
        ("dora", "loadjob", str(job.pk), "Requested."),
    ]


def test_suspending_leaves_entries(staff, acme):
    for action in ("suspend", "suspend", "resume"):
        data = {"action": action, "_selected_action": [acme.pk]}
        staff.post(reverse("admin:tenants_tenant_changelist"), data)
    assert _entries() == [
        ("dora", "tenant", acme.pk, "Suspended."),
        ("dora", "tenant", acme.pk, "Suspension ended."),
    ]


# --- Integrity


def test_the_selected_tables_are_checked(staff, finished, monkeypatch):
    sent = []
    monkeypatch.setattr(tasks.check_table, "delay", lambda *place: sent.append(place))
    page = _check_selected(staff)
    assert "Checking 1 table." in page
    assert sent == [(finished.tenant_id, "companies")]
    assert tasks.check_table(*sent[0])


def test_a_check_that_cannot_be_queued_shows_an_error(staff, finished, monkeypatch):
    def away(*place):
        raise OperationalError("Connection refused")

    monkeypatch.setattr(tasks.check_table, "delay", away)
    assert "the message broker cannot be reached" in _check_selected(staff)


def test_staff_who_may_only_view_start_no_checks(client, finished, bob, monkeypatch):
    sent = []
    monkeypatch.setattr(tasks.check_table, "delay", lambda *place: sent.append(place))
    bob.is_staff = True
    bob.save()
    bob.user_permissions.set(Permission.objects.filter(codename="view_integritycheck"))
    client.force_login(bob)
    _check_selected(client)
    assert not sent


def _check_selected(client):
    integrity.check(Tenant.objects.get(), TABLES["companies"])
    url = reverse("admin:loaders_integritycheck_changelist")
    chosen = {"action": "check_selected", "_selected_action": [IntegrityCheck.objects.get().pk]}
    return client.post(url, chosen, follow=True).content.decode()
