"""Each part that is down or rejects us is reported with a remedy; the others are still checked."""

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


def findings(*tenants):
    return {each.part: each for each in checks.examine(tenants)}


@pytest.fixture
def healthy(acme, warehouse, lake, settings, tmp_path):
    settings.EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    settings.EMAIL_FILE_PATH = str(tmp_path)
    put_jsonl(lake, acme, "companies", "a.jsonl", [{"id": "1"}])
    return acme


def test_every_part_is_ok_and_reports_its_version(healthy):
    found = findings(healthy)
    assert all(each.is_ok for each in found.values()), found
    assert list(found) == [
        "database",
        "broker",
        "cache",
        "warehouse",
        "warehouse for pages",
        "mail",
        "alerts",
        f"lake for {healthy.id}",
    ]
    assert re.search(r"\d+\.\d+", found["database"].message)
    assert "ClickHouse 2" in found["warehouse"].message
    assert "all privileges" in found["warehouse"].message
    assert "read by workers and by the warehouse" in found[f"lake for {healthy.id}"].message
    assert all(each.milliseconds > 0 for each in found.values())


def test_a_warehouse_that_is_down(healthy, settings):
    settings.CLICKHOUSE_URL = f"clickhouse://user:s3cret-word@{CLOSED}/avesa"
    found = findings()
    assert not found["warehouse"].is_ok
    assert "CLICKHOUSE_URL" in found["warehouse"].message
    assert "s3cret-word" not in found["warehouse"].message
    assert found["database"].is_ok


def test_a_warehouse_without_its_tables(healthy, settings):
    settings.CLICKHOUSE_URL = settings.CLICKHOUSE_URL.replace("/avesa", "/not_made")
    assert "Run: manage.py warehouse_schema apply" in findings()["warehouse"].message


def test_a_broker_that_is_down(healthy, monkeypatch):
    monkeypatch.setattr(checks, "BROKER_SECONDS", 1)
    monkeypatch.setattr(checks.current_app.conf, "broker_write_url", f"redis://:s3cret@{CLOSED}/0")
    found = findings()["broker"]
    assert not found.is_ok
    assert "CELERY_BROKER_URL" in found.message
    assert "s3cret" not in found.message


def test_a_cache_that_is_down(healthy, settings):
    options = {"IGNORE_EXCEPTIONS": True, "SOCKET_CONNECT_TIMEOUT": 1}
    backend = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"redis://{CLOSED}/0"}
    settings.CACHES = {"default": backend | {"OPTIONS": options}}
    found = findings()["cache"]
    assert not found.is_ok
    assert "CACHE_URL" in found.message


def test_pages_work_without_the_cache(healthy, settings, client, alice, put_rows, warehouse):
    test_a_cache_that_is_down(healthy, settings)
    put_rows(healthy, "companies", [company("1", is_active=True)])
    log_load(warehouse, healthy, "companies")
    client.force_login(alice)
    page = b"".join(client.get(f"/t/{healthy.id}/board/customers/").streaming_content).decode()
    assert '<p class="figure">1</p>' in page


@pytest.mark.redis
def test_redis_reports_its_version(healthy, settings):
    redis = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": settings.CACHE_URL}
    settings.CACHES = {"default": redis}
    found = findings()
    for part in ("broker", "cache"):
        assert re.fullmatch(r"Redis \d+\.\d+\.\d+", found[part].message)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("WRONGPASS invalid username-password pair", "rejected the user or password"),
        ("NOAUTH Authentication required.", "requires a password"),
        ("NOPERM this user has no permissions", "lacks a permission"),
        ("Timeout connecting to server: timed out", "did not answer in time"),
        ("Error 111 connecting to h:1. Connection refused.", "Nothing listens there"),
        ("something else", "connection failed"),
    ],
)
def test_errors_of_redis_have_a_remedy(error, remedy):
    message = checks.redis_remedy(error, "CACHE_URL")
    assert remedy in message
    assert "CACHE_URL" in message or "firewalls" in message


def test_a_warehouse_user_without_a_privilege(healthy, monkeypatch):
    value = checks.WarehouseClient.value

    def refuse_one(self, sql, *parameters):
        is_granted = value(self, sql, *parameters)
        return 0 if sql == "CHECK GRANT OPTIMIZE ON `avesa`.*" else is_granted

    monkeypatch.setattr(checks.WarehouseClient, "value", refuse_one)
    assert "GRANT OPTIMIZE ON `avesa`.* TO `default`" in findings()["warehouse"].message


def test_a_server_that_cannot_check_privileges_passes(healthy, monkeypatch):
    monkeypatch.setattr(checks, "PRIVILEGES", ("NO SUCH PRIVILEGE",))
    assert findings()["warehouse"].is_ok


def test_files_that_only_workers_can_read(healthy, monkeypatch):
    monkeypatch.setattr(checks.Lake, "url", lambda self, keys: "http://127.0.0.1:1/bucket/key")
    message = findings(healthy)[f"lake for {healthy.id}"].message
    assert "LAKE_ENDPOINT_URL as seen from the warehouse server" in message


def test_a_lake_that_does_not_answer_is_not_checked_for_every_tenant(
    healthy, globex, settings, monkeypatch
):
    monkeypatch.setattr(checks, "LAKES_AT_ONCE", 1)
    settings.LAKE_ENDPOINT_URL = f"http://{CLOSED}"
    found = findings(healthy, globex)
    assert "cannot be reached" in found[f"lake for {healthy.id}"].message
    assert "Not checked" in found[f"lake for {globex.id}"].message
    assert not found[f"lake for {globex.id}"].is_ok


def test_a_secret_that_names_http_is_reported(healthy, monkeypatch, settings):
    at = checks.address()
    monkeypatch.setattr(checks, "address", lambda: replace(at, note="the secret names HTTP"))
    assert findings()["warehouse"].message.endswith("(the secret names HTTP)")


def test_a_missing_bucket_and_a_tenant_without_files(healthy, globex, settings):
    assert "Has the upstream pipeline run?" in findings(globex)[f"lake for {globex.id}"].message
    settings.LAKE_BUCKET = "no-such-bucket"
    assert "LAKE_BUCKET" in findings(healthy)[f"lake for {healthy.id}"].message


def test_a_lake_that_is_down(healthy, settings):
    settings.LAKE_ENDPOINT_URL = f"http://{CLOSED}"
    assert "LAKE_ENDPOINT_URL" in findings(healthy)[f"lake for {healthy.id}"].message


def test_the_first_file_that_loads_can_read_is_read(healthy, lake):
    for name in ("a//b.jsonl", "a,b.jsonl", "archived.jsonl"):
        lake.client.put_object(
            Bucket=lake.bucket,
            Key=f"{healthy.id}/canonical/companies/{name}",
            Body=b"{}",
            StorageClass="GLACIER" if name.startswith("archived") else "STANDARD",
        )
    assert findings(healthy)[f"lake for {healthy.id}"].is_ok


def test_an_invalid_address_of_the_lake(healthy, settings):
    settings.LAKE_ENDPOINT_URL = "minio:9000"
    assert "Invalid endpoint" in findings(healthy)[f"lake for {healthy.id}"].message


def test_a_mail_server_that_is_down_and_a_folder_that_is_missing(healthy, settings):
    settings.EMAIL_FILE_PATH = "/nowhere"
    assert "cannot be written to" in findings()["mail"].message
    settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = checks.SMTP, "127.0.0.1", 1
    assert "EMAIL_URL" in findings()["mail"].message


def test_the_channels_of_alerts_are_listed(healthy, settings):
    assert "Set ALERT_EMAILS" in findings()["alerts"].message
    settings.ADMINS = [("ops", "ops@example.com")]
    settings.ALERT_SNS_TOPIC = "arn:aws:sns:us-east-1:1:alerts"
    assert findings()["alerts"].message == "sent by mail, sns"


def test_clocks_that_differ(healthy, monkeypatch):
    monkeypatch.setattr(checks, "MAX_CLOCK_SKEW", timedelta(seconds=-1))
    found = findings(healthy)
    for part in ("warehouse", f"lake for {healthy.id}"):
        assert "Synchronize both with NTP" in found[part].message


def test_the_command_fails_and_names_the_parts(healthy, capsys):
    call_command("doctor", tenant=[healthy.id])
    assert "FAILED" not in capsys.readouterr().out
    Tenant.objects.create(id="no-files", name="No files")
    with pytest.raises(CommandError, match=r"Failed: lake for no-files\."):
        call_command("doctor")


def test_without_the_database_the_others_are_still_checked(warehouse, settings):
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
    assert "no tenants are known" in run.stdout
    assert "s3cret-word" not in run.stdout + run.stderr


def test_the_page_is_for_staff_who_may_see_loads(healthy, client, dora, bob):
    client.force_login(dora)
    page = client.get("/admin/doctor/").content.decode()
    assert "ClickHouse 2" in page
    assert f"Lake for {healthy.id}" in page
    bob.is_staff = True
    bob.save()
    client.force_login(bob)
    assert client.get("/admin/doctor/").status_code == 403
