"""Log lines carry the ids of their work and never contain a secret."""

import json
import logging
import re

import pytest

from common import logs

LINE = logs.LineFormatter("%(levelname)s %(message)s")
JSON = logs.JsonLineFormatter("%(levelname)s %(message)s")


@pytest.fixture(autouse=True)
def _fresh_secrets():
    logs.forget_secrets()
    yield
    logs.forget_secrets()


def record(message, *values, error=None):
    info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("a", logging.INFO, "f.py", 1, message, values, info)


def test_ids_are_on_every_line_in_the_context():
    with logs.log_context(tenant="acme"), logs.log_context(job=7):
        assert LINE.format(record("step")) == "INFO step [tenant=acme job=7]"
        line = json.loads(JSON.format(record("step %s", "two\nlines")))
    assert line == {
        "levelname": "INFO",
        "message": "step two\nlines",
        "tenant": "acme",
        "job": 7,
    }
    assert LINE.format(record("after")) == "INFO after"


def test_secrets_in_the_settings_are_redacted_in_every_form(settings):
    settings.SECRET_KEY = "the-secret-key"
    settings.CLICKHOUSE_URL = "clickhouse://me:p%40ss%22word@host/avesa"
    settings.CELERY_BROKER_URL = "redis://:brokerpass@host/0"
    settings.LAKE_SECRET_ACCESS_KEY = "lake/secret+key"
    settings.ANYMAIL = {"POSTMARK_SERVER_TOKEN": "post-mark-token"}
    text = (
        'the-secret-key p@ss"word p%40ss%22word brokerpass lake/secret+key '
        "lake%2Fsecret%2Bkey post-mark-token"
    )
    for shown in (LINE.format(record(text)), json.loads(JSON.format(record(text)))["message"]):
        assert set(shown.removeprefix("INFO ").split()) == {logs.HIDDEN}


def test_the_webhooks_address_is_a_secret(settings):
    settings.ALERT_WEBHOOK_URL = "https://hooks.example/services/T00/B00/secret-part"
    for text in (
        "POST https://hooks.example/services/T00/B00/secret-part failed",
        "Max retries exceeded with url: /services/T00/B00/secret-part (Caused by …)",
    ):
        assert "secret-part" not in LINE.format(record(text))


def test_the_webhooks_query_string_is_a_secret(settings):
    settings.ALERT_WEBHOOK_URL = "https://chat.example/v1/messages?key=AIzaKeyKey&token=se%2Bcret"
    for text in (
        "Max retries exceeded with url: /v1/messages?key=AIzaKeyKey&token=se%2Bcret (Caused by …)",
        "the chat program does not know AIzaKeyKey nor se+cret",
    ):
        line = LINE.format(record(text))
        assert not [part for part in ("AIza", "cret") if part in line]


def test_json_lines_redact_secrets_with_escaped_characters(settings):
    settings.LAKE_SECRET_ACCESS_KEY = "grüße-geheim"
    assert "geheim" not in JSON.format(record("denied for grüße-geheim"))


@pytest.mark.django_db
def test_a_request_that_fails_mails_no_settings(client, settings, mailoutbox, monkeypatch):
    """By default, Django mails errors to ADMINS with all settings: passwords in URLs, too."""
    settings.ADMINS = [("ops", "ops@example.com")]
    settings.ALLOWED_HOSTS = ["avesa.example"]
    assert client.get("/login/", headers={"host": "evil.example"}).status_code == 400
    settings.ALLOWED_HOSTS = ["*"]
    client.raise_request_exception = False
    monkeypatch.setattr("avesa_site.health.JsonResponse", lambda *answer, **more: 1 / 0)
    assert client.get("/health/live/").status_code == 500
    assert mailoutbox == []


def test_tracebacks_contain_no_secret(settings):
    settings.SECRET_KEY = "the-secret-key"
    try:
        raise ValueError("wrong: the-secret-key")
    except ValueError as error:
        for each in (LINE, JSON):
            shown = each.format(record("failed", error=error))
            assert "the-secret-key" not in shown
            assert "ValueError" in shown


def test_secrets_read_at_run_time_are_redacted():
    logs.register_secret("rotated-secret")
    logs.register_secret("short")
    assert LINE.format(record("rotated-secret short")) == f"INFO {logs.HIDDEN} short"


TOKEN = "41:3x-Yz_0123456789abcdefghijklmnopqrstuvwxyzAB"


@pytest.mark.parametrize("token", [TOKEN, TOKEN.replace(":", "%3A"), TOKEN.replace(":", "%3a")])
def test_links_of_reports_are_redacted(token):
    text = f"Not Found: /r/{token}/report.pdf"
    for shown in (LINE.format(record(text)), json.loads(JSON.format(record(text)))["message"]):
        assert shown.endswith(f"Not Found: /r/{logs.HIDDEN}/report.pdf")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/account/forgotten/1-cz3f-0a1b2c/", f"/account/forgotten/{logs.HIDDEN}/"),
        ("/account/forgotten/1-set-password/", "/account/forgotten/1-set-password/"),
        ("/account/mail/MQ:1tXy:s3-cr_et/ HTTP", f"/account/mail/{logs.HIDDEN}/ HTTP"),
        ("/account/mail/MQ%3A1tXy%3As3-cr_et/", f"/account/mail/{logs.HIDDEN}/"),
        ("/account/mail/sent/", "/account/mail/sent/"),
    ],
)
def test_links_of_accounts_are_redacted(path, shown):
    assert logs.redact_links(f"Not Found: {path}") == f"Not Found: {shown}"


def test_links_of_reports_do_not_stand_in_access_logs(client, db):
    """Django's development server logs requests with a format of its own."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda each: lines.append(LINE.format(each))
    plain = logging.Handler()
    plain.emit = lambda each: lines.append(logging.Formatter("%(message)s").format(each))
    server = logging.getLogger("django.server")
    logs.access.addHandler(handler)
    server.addHandler(plain)
    try:
        client.get(f"/r/{TOKEN}/", headers={"X-Request-ID": "abc"})
        client.get("/a%0Ab/?q=secret", headers={"X-Request-ID": "abc"})
        server.info('"%s" %s', f"GET /r/{TOKEN}/ HTTP/1.1", 200)
    finally:
        logs.access.removeHandler(handler)
        server.removeHandler(plain)
    of_page, of_other, of_server = lines
    assert re.fullmatch(
        rf"INFO GET /r/{re.escape(logs.HIDDEN)}/ 404 \d+ ms \[request=abc\]", of_page
    )
    assert of_other.startswith("INFO GET /a%0Ab/ 404 ")
    assert of_server == f'"GET /r/{logs.HIDDEN}/ HTTP/1.1" 200'


def test_each_request_has_an_id_in_its_log_lines_and_its_response(client, acme, alice, caplog):
    given = client.get("/health/live/", headers={"X-Request-ID": "from-the-proxy.1"})
    assert given["X-Request-ID"] == "from-the-proxy.1"
    for bad in ("", "x" * 65, "a b", "a\tb"):
        answer = client.get("/health/live/", headers={"X-Request-ID": bad})
        assert len(answer["X-Request-ID"]) == 32
    client.force_login(alice)
    lines = []
    handler = logging.Handler()
    handler.emit = lambda each: lines.append(LINE.format(each))
    logging.getLogger("django.request").addHandler(handler)
    client.get(f"/t/{acme.id}/nothing/", headers={"X-Request-ID": "abc"})
    client.get(f"/t/{acme.id}/board/nothing/", headers={"X-Request-ID": "abc"})
    logging.getLogger("django.request").removeHandler(handler)
    assert lines[0].endswith("[request=abc]")
    assert lines[1].endswith(f"[request=abc tenant={acme.id}]")
