"""Each part that is away or refuses us is told, with what to do; the others are asked as well."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from analytics.tests.versions import company, log_load
from avesa_site.doctor import checks
from loaders.tests.lakes import put_jsonl
from tenants.models import Tenant

CLOSED = "127.0.0.1:1"


def told(*tenants):
    return {each.part: each for each in checks.examine(tenants)}


@pytest.fixture
def well(acme, warehouse, lake, settings, tmp_path):
    settings.EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    settings.EMAIL_FILE_PATH = str(tmp_path)
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}])
    return acme


def test_every_part_is_well_and_tells_its_version(well):
    found = told(well)
    assert all(each.is_well for each in found.values()), found
    assert list(found) == [
        "database",
        "broker",
        "cache",
        "warehouse",
        "mail",
        "alerts",
        f"lake for {well.id}",
    ]
    assert re.search(r"\d+\.\d+", found["database"].says)
    assert "ClickHouse 2" in found["warehouse"].says
    assert "all rights" in found["warehouse"].says
    assert "read by workers and by the warehouse" in found[f"lake for {well.id}"].says
    assert all(each.milliseconds > 0 for each in found.values())


def test_a_warehouse_that_is_away(well, settings):
    settings.CLICKHOUSE_URL = f"clickhouse://user:s3cret-word@{CLOSED}/avesa"
    found = told()
    assert not found["warehouse"].is_well
    assert "CLICKHOUSE_URL" in found["warehouse"].says
    assert "s3cret-word" not in found["warehouse"].says
    assert found["database"].is_well


def test_a_warehouse_without_its_tables(well, settings):
    settings.CLICKHOUSE_URL = settings.CLICKHOUSE_URL.replace("/avesa", "/not_made")
    assert "Run: manage.py warehouse_schema apply" in told()["warehouse"].says


def test_a_broker_that_is_away(well, monkeypatch):
    monkeypatch.setattr(checks, "BROKER_SECONDS", 1)
    monkeypatch.setattr(checks.current_app.conf, "broker_write_url", f"redis://:s3cret@{CLOSED}/0")
    found = told()["broker"]
    assert not found.is_well
    assert "CELERY_BROKER_URL" in found.says
    assert "s3cret" not in found.says


def test_a_cache_that_is_away(well, settings):
    options = {"IGNORE_EXCEPTIONS": True, "SOCKET_CONNECT_TIMEOUT": 1}
    backend = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"redis://{CLOSED}/0"}
    settings.CACHES = {"default": backend | {"OPTIONS": options}}
    found = told()["cache"]
    assert not found.is_well
    assert "CACHE_URL" in found.says


def test_pages_do_without_a_cache_that_is_away(well, settings, client, alice, put_rows, warehouse):
    test_a_cache_that_is_away(well, settings)
    put_rows(well, "companies", [company("1", is_active=True)])
    log_load(warehouse, well, "companies")
    client.force_login(alice)
    page = b"".join(client.get(f"/t/{well.id}/board/customers/").streaming_content).decode()
    assert '<p class="figure">1</p>' in page


@pytest.mark.redis
def test_redis_tells_its_version(well, settings):
    redis = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": settings.CACHE_URL}
    settings.CACHES = {"default": redis}
    found = told()
    for part in ("broker", "cache"):
        assert re.fullmatch(r"Redis \d+\.\d+\.\d+", found[part].says)


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("WRONGPASS invalid username-password pair", "refused the user or password"),
        ("NOAUTH Authentication required.", "wants a password"),
        ("NOPERM this user has no permissions", "lacks a right"),
        ("Timeout connecting to server: timed out", "did not answer in time"),
        ("Error 111 connecting to h:1. Connection refused.", "Nothing listens there"),
        ("something else", "cannot be used"),
    ],
)
def test_what_redis_says_has_a_remedy(said, remedy):
    told = checks._redis_remedy(said, "CACHE_URL")
    assert remedy in told
    assert "CACHE_URL" in told or "firewalls" in told


def test_a_warehouse_user_without_a_right(well, monkeypatch):
    value = checks.Writer.value

    def refuse_one(self, sql, *parameters):
        is_granted = value(self, sql, *parameters)
        return 0 if sql == "CHECK GRANT OPTIMIZE ON `avesa`.*" else is_granted

    monkeypatch.setattr(checks.Writer, "value", refuse_one)
    assert "GRANT OPTIMIZE ON `avesa`.* TO `default`" in told()["warehouse"].says


def test_a_server_that_cannot_tell_rights_is_believed(well, monkeypatch):
    monkeypatch.setattr(checks, "RIGHTS", ("NO SUCH RIGHT",))
    assert told()["warehouse"].is_well


def test_files_that_only_workers_can_read(well, monkeypatch):
    monkeypatch.setattr(checks.Lake, "url", lambda self, keys: "http://127.0.0.1:1/bucket/key")
    says = told(well)[f"lake for {well.id}"].says
    assert "LAKE_ENDPOINT_URL as seen from the warehouse server" in says


def test_a_lake_that_is_silent_is_not_asked_for_every_tenant(well, globex, settings, monkeypatch):
    monkeypatch.setattr(checks, "LAKES_AT_ONCE", 1)
    settings.LAKE_ENDPOINT_URL = f"http://{CLOSED}"
    found = told(well, globex)
    assert "cannot be reached" in found[f"lake for {well.id}"].says
    assert "was not asked" in found[f"lake for {globex.id}"].says
    assert not found[f"lake for {globex.id}"].is_well


def test_a_secret_that_names_http_is_told(well, monkeypatch, settings):
    at = checks.address()
    monkeypatch.setattr(checks, "address", lambda: replace(at, note="the secret names HTTP"))
    assert told()["warehouse"].says.endswith("(the secret names HTTP)")


def test_a_bucket_that_is_not_there_and_a_tenant_without_files(well, globex, settings):
    assert "Has the pipeline upstream run?" in told(globex)[f"lake for {globex.id}"].says
    settings.LAKE_BUCKET = "no-such-bucket"
    assert "LAKE_BUCKET" in told(well)[f"lake for {well.id}"].says


def test_a_lake_that_is_away(well, settings):
    settings.LAKE_ENDPOINT_URL = f"http://{CLOSED}"
    assert "LAKE_ENDPOINT_URL" in told(well)[f"lake for {well.id}"].says


def test_the_first_file_that_loads_could_read_is_read(well, lake):
    for name in ("a//b.jsonl", "a,b.jsonl", "archived.jsonl"):
        lake.client.put_object(
            Bucket=lake.bucket,
            Key=f"{well.id}/canonical/companies/{name}",
            Body=b"{}",
            StorageClass="GLACIER" if name.startswith("archived") else "STANDARD",
        )
    assert told(well)[f"lake for {well.id}"].is_well


def test_an_address_of_the_lake_that_is_none(well, settings):
    settings.LAKE_ENDPOINT_URL = "minio:9000"
    assert "Invalid endpoint" in told(well)[f"lake for {well.id}"].says


def test_a_mail_server_that_is_away_and_a_folder_that_is_gone(well, settings):
    settings.EMAIL_FILE_PATH = "/nowhere"
    assert "cannot be written to" in told()["mail"].says
    settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = checks.SMTP, "127.0.0.1", 1
    assert "EMAIL_URL" in told()["mail"].says


def test_by_which_ways_alerts_are_told(well, settings):
    assert "reach no one. Set ALERT_EMAILS" in told()["alerts"].says
    settings.ADMINS = [("ops", "ops@example.com")]
    settings.ALERT_SNS_TOPIC = "arn:aws:sns:us-east-1:1:alerts"
    assert told()["alerts"].says == "sent by mail, sns"


def test_clocks_that_differ(well, monkeypatch):
    monkeypatch.setattr(checks, "MAX_CLOCK_SKEW", timedelta(seconds=-1))
    found = told(well)
    for part in ("warehouse", f"lake for {well.id}"):
        assert "Set both by NTP" in found[part].says


def test_the_command_ends_with_an_error_that_names_the_parts(well, capsys):
    call_command("doctor", tenant=[well.id])
    assert "UNWELL" not in capsys.readouterr().out
    Tenant.objects.create(id="no-files", name="No files")
    with pytest.raises(CommandError, match=r"Not well: lake for no-files\."):
        call_command("doctor")


def test_without_the_database_the_others_are_asked_all_the_same(warehouse, settings):
    env = os.environ | {
        "DATABASE_URL": f"postgres://someone:s3cret-word@{CLOSED}/avesa",
        "CLICKHOUSE_URL": settings.CLICKHOUSE_URL,
    }
    run = subprocess.run(
        [sys.executable, "manage.py", "doctor"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "DATABASE_URL" in run.stdout
    assert "ClickHouse" in run.stdout
    assert "no tenant is known" in run.stdout
    assert "s3cret-word" not in run.stdout + run.stderr


def test_the_page_is_for_staff_who_may_see_loads(well, client, dora, bob):
    client.force_login(dora)
    page = client.get("/admin/doctor/").content.decode()
    assert "ClickHouse 2" in page
    assert f"Lake for {well.id}" in page
    bob.is_staff = True
    bob.save()
    client.force_login(bob)
    assert client.get("/admin/doctor/").status_code == 403
