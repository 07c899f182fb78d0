"""Secrets from AWS Secrets Manager: read, cached, rotated and redacted. Alerts by webhook, SNS."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from time import monotonic

import boto3
import pytest
from clickhouse_driver.errors import ServerException

from analytics.warehouse import pool
from analytics.warehouse.client import WarehouseClient
from analytics.warehouse.errors import AuthenticationFailed, Unreachable
from analytics.warehouse.pool import WarehouseAddress, address
from common import aws, logs
from loaders.lake.s3 import Lake, LakeError, LakeUnreachable
from tenants import alerting
from tenants.models import Alert

REFUSED = 516


@pytest.fixture
def put_secret(_s3, settings, monkeypatch):
    """Puts values into an emulated Secrets Manager: put_secret(name, value)."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")
    settings.AWS_ENDPOINT_URL = _s3
    client = boto3.client("secretsmanager", endpoint_url=_s3, region_name=settings.AWS_REGION)
    names = set()

    def put(name, value):
        text = value if isinstance(value, str) else json.dumps(value)
        if name in names:
            client.put_secret_value(SecretId=name, SecretString=text)
        else:
            client.create_secret(Name=name, SecretString=text)
            names.add(name)

    logs.forget_secrets()
    yield put
    for name in names:
        client.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
    logs.forget_secrets()


@pytest.mark.parametrize(
    ("secret", "host", "port", "secure"),
    [
        ({"host": "h"}, "h", 9000, False),
        ({"host": "h", "port": 9440, "secure": True}, "h", 9440, True),
        ({"host": "h", "port": "9001", "secure": "false"}, "h", 9001, False),
        ({"host": "h", "port": 8443, "protocol": "https"}, "h", 9440, True),
        ({"host": "h", "port": "8443"}, "h", 9440, True),
        ({"host": "h", "protocol": "https", "port": 443}, "h", 9440, True),
        ({"host": "h", "port": 8123, "protocol": "http"}, "h", 9000, False),
    ],
)
def test_a_secret_that_names_http_is_read_as_the_native_protocol(secret, host, port, secure):
    at = WarehouseAddress.from_secret(secret)
    assert (at.host, at.port, at.secure) == (host, port, secure)
    names_http = secret.get("protocol") or str(secret.get("port")) in ("8443", "8123")
    note = f"the secret names HTTP; the native port {port} is used instead"
    assert at.note == (note if names_http else "")


def test_the_secret_wins_over_the_url_and_is_redacted(put_secret, settings):
    settings.CLICKHOUSE_SECRET = "warehouse"
    put_secret(
        "warehouse",
        {"host": "ch", "username": "me", "password": "pass-from-aws", "database": "d"},
    )
    at = address()
    assert (at.host, at.user, at.password, at.database) == ("ch", "me", "pass-from-aws", "d")
    assert "pass-from-aws" not in repr(at)
    line = logs.LineFormatter().format(logging.makeLogRecord({"msg": "it is pass-from-aws"}))
    assert line == f"it is {logs.HIDDEN}"


@pytest.mark.parametrize("text", ["no json", "[1]", "{}"])
def test_a_secret_that_is_no_address_says_so_without_its_text(put_secret, settings, text):
    settings.CLICKHOUSE_SECRET = "warehouse"
    put_secret("warehouse", text)
    with pytest.raises(AuthenticationFailed) as caught:
        address()
    assert "no json" not in str(caught.value).replace("is no JSON", "")


def test_a_secret_that_is_missing_gives_an_error_with_a_remedy(put_secret, settings):
    settings.CLICKHOUSE_SECRET = "nothing"
    with pytest.raises(AuthenticationFailed, match="secretsmanager:GetSecretValue"):
        address()


def test_a_secret_is_cached_for_five_minutes_and_survives_an_outage(
    put_secret, settings, monkeypatch
):
    put_secret("warehouse", {"host": "one"})
    assert aws.cached_secret("warehouse") == {"host": "one"}
    put_secret("warehouse", {"host": "two"})
    assert aws.cached_secret("warehouse") == {"host": "one"}
    monkeypatch.setattr(aws, "CACHE_SECONDS", 0)
    monkeypatch.setattr(aws, "RETRY_SECONDS", 0)
    right, settings.AWS_ENDPOINT_URL = settings.AWS_ENDPOINT_URL, "http://127.0.0.1:1"
    assert aws.cached_secret("warehouse") == {"host": "one"}
    settings.AWS_ENDPOINT_URL = right
    assert aws.cached_secret("warehouse") == {"host": "two"}


class Clock:
    def __init__(self):
        self.now = monotonic()

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


def cache(monkeypatch, name, value):
    """`value` was read as the secret `name`, at the time of the clock that is returned."""
    clock = Clock()
    monkeypatch.setattr(aws, "monotonic", clock)
    with monkeypatch.context() as patch:
        patch.setattr(aws, "secret", lambda name: value)
        aws.cached_secret(name)
    return clock


def test_while_aws_is_down_requests_are_rate_limited(settings, monkeypatch):
    calls = []

    def unavailable(name):
        calls.append(name)
        raise aws.AwsError("AWS is down.")

    known = {"host": "one"}
    clock = cache(monkeypatch, "warehouse", known)
    monkeypatch.setattr(aws, "secret", unavailable)
    clock.advance(aws.CACHE_SECONDS)
    assert [aws.cached_secret("warehouse") for _ in range(20)] == [known] * 20
    assert len(calls) == 1
    assert not aws.was_rotated("warehouse")
    assert len(calls) == 1
    clock.advance(aws.RETRY_SECONDS)
    aws.cached_secret("warehouse")
    assert len(calls) == 2


def test_requests_are_rate_limited_without_a_cached_secret_too(settings, monkeypatch):
    calls = []

    def unavailable(name):
        calls.append(name)
        raise aws.AwsError("AWS is down.")

    monkeypatch.setattr(aws, "secret", unavailable)
    for _ in range(3):
        with pytest.raises(aws.AwsError, match="AWS is down"):
            aws.cached_secret("never-read")
    assert len(calls) == 1


def test_a_thread_does_not_wait_for_another_that_refreshes(monkeypatch):
    known = {"host": "one"}
    clock = cache(monkeypatch, "warehouse", known)
    begun, may_end = Event(), Event()

    def slow(name):
        begun.set()
        may_end.wait(5)
        return {"host": "two"}

    monkeypatch.setattr(aws, "secret", slow)
    clock.advance(aws.CACHE_SECONDS)
    with ThreadPoolExecutor(2) as threads:
        refreshing = threads.submit(aws.cached_secret, "warehouse")
        assert begun.wait(5)
        assert threads.submit(aws.cached_secret, "warehouse").result(5) == known
        may_end.set()
        assert refreshing.result(5) == {"host": "two"}


class PasswordClient:
    """A driver client that accepts one password only."""

    right = "new-password"

    def __init__(self, password):
        self.password = password

    def execute(self, sql, *arguments, **options):
        if self.password != self.right:
            raise ServerException("Authentication failed", REFUSED)
        return [(1,)]

    def disconnect(self):
        pass


def test_a_rotated_password_is_used_without_a_restart(put_secret, settings, monkeypatch):
    monkeypatch.setattr(
        WarehouseAddress, "client", lambda self, read_timeout: PasswordClient(self.password)
    )
    settings.CLICKHOUSE_SECRET = "warehouse"
    put_secret("warehouse", {"host": "h", "password": "old-password"})
    pool.close_all()
    with pytest.raises(AuthenticationFailed):
        WarehouseClient().rows("SELECT 1")
    put_secret("warehouse", {"host": "h", "password": "new-password"})
    with pytest.raises(Unreachable, match="rotated"):  # loads and reads retry this error
        WarehouseClient().rows("SELECT 1")
    assert WarehouseClient().rows("SELECT 1") == [(1,)]
    old = WarehouseClient()
    put_secret("warehouse", {"host": "h", "password": "newer-password"})
    monkeypatch.setattr(PasswordClient, "right", "newer-password")
    assert aws.was_rotated("warehouse"), "another thread was refused first"
    with pytest.raises(Unreachable, match="rotated"):
        old.rows("SELECT 1")
    assert WarehouseClient().rows("SELECT 1") == [(1,)]
    pool.close_all()


def test_the_lakes_keys_come_from_a_secret_and_are_rotated(put_secret, settings, lake):
    settings.LAKE_SECRET = "lake"
    put_secret("lake", {"access_key_id": "AK", "secret_access_key": "s3cret-of-lake"})
    assert Lake().credentials == ("AK", "s3cret-of-lake")
    put_secret("lake", {"access_key_id": "AK2", "secret_access_key": "another-s3cret"})
    from botocore.exceptions import ClientError

    from loaders.lake.s3 import lake_errors

    refused = ClientError({"Error": {"Code": "InvalidAccessKeyId"}}, "ListObjectsV2")
    with pytest.raises(LakeUnreachable, match="rotated"), lake_errors("bucket"):
        raise refused
    assert Lake().credentials == ("AK2", "another-s3cret")
    with pytest.raises(LakeError, match="denied"), lake_errors("bucket"):
        raise refused
    put_secret("lake", {"user": "x"})
    aws.clear_cache()
    with pytest.raises(LakeError, match="access_key_id"):
        _ = Lake().credentials


# --- Alerts by webhook and SNS


@pytest.fixture
def hook(settings):
    """A web server; yields what was posted to it."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    posted = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            is_refused = posted[-1]["alerts"][0]["subject"] == "refused"
            self.send_response(500 if is_refused else 200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    settings.ALERT_WEBHOOK_URL = f"http://127.0.0.1:{server.server_port}/"
    yield posted
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_alert_goes_to_mail_webhook_and_sns_once(
    hook, put_secret, settings, acme, mailoutbox, django_capture_on_commit_callbacks
):
    settings.ADMINS = [("ops", "ops@example.com")]
    sns = boto3.client(
        "sns", endpoint_url=settings.AWS_ENDPOINT_URL, region_name=settings.AWS_REGION
    )
    sqs = boto3.client(
        "sqs", endpoint_url=settings.AWS_ENDPOINT_URL, region_name=settings.AWS_REGION
    )
    settings.ALERT_SNS_TOPIC = sns.create_topic(Name="alerts")["TopicArn"]
    queue = sqs.create_queue(QueueName="alerts")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    sns.subscribe(TopicArn=settings.ALERT_SNS_TOPIC, Protocol="sqs", Endpoint=arn["QueueArn"])
    for _ in range(2):
        with django_capture_on_commit_callbacks(execute=True):
            alerting.raise_alert(Alert.Kind.LOAD, acme.id, "tickets", "It failed.")
    [posted] = hook
    [fault] = posted["alerts"]
    assert (fault["tenant"], fault["subject"], fault["kind"]) == (acme.id, "tickets", "load")
    assert "It failed." in posted["text"]
    assert len(mailoutbox) == 1
    messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    assert len(messages) == 1
    assert "It failed." in messages[0]["Body"]


def test_a_channel_that_fails_does_not_stop_the_others(
    hook, settings, acme, mailoutbox, django_capture_on_commit_callbacks, monkeypatch
):
    settings.ADMINS = [("ops", "ops@example.com")]
    settings.ALERT_SNS_TOPIC = "arn:aws:sns:us-east-1:1:x"
    settings.AWS_ENDPOINT_URL = "http://127.0.0.1:1"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")
    with django_capture_on_commit_callbacks(execute=True):
        alerting.raise_alert(Alert.Kind.LOAD, acme.id, "refused", "It failed.")
    assert len(hook) == len(mailoutbox) == 1
