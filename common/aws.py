"""AWS services other than S3: Secrets Manager and SNS. Credentials: the usual AWS chain."""

import json
import logging
from collections import defaultdict
from threading import Lock
from time import monotonic
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings

from common.logs import register_secret

log = logging.getLogger(__name__)

_CONFIG = Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 3})


class AwsError(Exception):
    """AWS refused or did not answer. The text explains what to do and contains no secret."""


def secret(name: str) -> dict[str, Any]:
    """The JSON object that Secrets Manager stores as `name` (name or ARN). Raises AwsError."""
    try:
        found = _client("secretsmanager").get_secret_value(SecretId=name)
        value = json.loads(found["SecretString"])
    except (BotoCoreError, ClientError) as error:
        raise AwsError(
            f"The secret {name} cannot be read ({_code(error)}). Check its name, AWS_REGION, and "
            "that this process has the permission secretsmanager:GetSecretValue for it."
        ) from error
    except (KeyError, ValueError) as error:
        raise AwsError(f"The secret {name} is not JSON.") from error
    if not isinstance(value, dict):
        raise AwsError(f"The secret {name} is not a JSON object.")
    return value


# --- Cached secrets: a request for each statement would be slow and expensive

CACHE_SECONDS = 300
RETRY_SECONDS = 30  # between two attempts to refresh a secret while AWS is unavailable
_cache: dict[str, tuple[float, dict[str, Any]]] = {}
_failures: dict[str, tuple[float, AwsError]] = {}
_refresh_locks: defaultdict[str, Lock] = defaultdict(Lock)


def cached_secret(name: str) -> dict[str, Any]:
    """`secret(name)`, cached for five minutes.

    While AWS is unavailable, or another thread is refreshing the secret, the last known value is
    returned. Raises AwsError if there is none.
    """
    value, is_old = _cached(name)
    if not is_old or not _refresh_locks[name].acquire(blocking=not value):
        return value
    try:
        value, is_old = _cached(name)  # another thread may have refreshed it
        return _refreshed(name, value) if is_old else value
    finally:
        _refresh_locks[name].release()


def clear_cache() -> None:
    _cache.clear()
    _failures.clear()


def _cached(name: str) -> tuple[dict[str, Any], bool]:
    """The cached value ({} if none), and whether it must be refreshed."""
    read_at, value = _cache.get(name, (float("-inf"), {}))
    return value, monotonic() - read_at >= CACHE_SECONDS


def _refreshed(name: str, value: dict[str, Any]) -> dict[str, Any]:
    try:
        return _refresh(name)
    except AwsError as error:
        if not value:
            raise
        log.warning("the last known secret is used: %s", error)
        return value


def was_rotated(name: str) -> bool:
    """Refresh a secret that was refused. Returns whether the value has changed."""
    with _refresh_locks[name]:
        _, before = _cache.get(name, (0.0, {}))
        try:
            return _refresh(name) != before
        except AwsError as error:
            log.warning("a secret that was refused cannot be read again: %s", error)
            return False


def _refresh(name: str) -> dict[str, Any]:
    """Read from AWS, but not within RETRY_SECONDS of a failure: an attempt can take 20 seconds."""
    failed_at, last_error = _failures.get(name, (float("-inf"), AwsError()))
    if monotonic() - failed_at < RETRY_SECONDS:
        raise last_error
    try:
        value = secret(name)
    except AwsError as error:
        _failures[name] = (monotonic(), error)
        raise
    _failures.pop(name, None)
    for part, each in value.items():
        if isinstance(each, str) and ("secret" in part.lower() or "password" in part.lower()):
            register_secret(each)
    _cache[name] = (monotonic(), value)
    return value


# --- SNS


def publish(topic: str, subject: str, text: str) -> None:
    """Publish a message to an SNS topic. Raises AwsError."""
    line = " ".join(subject.split())[:100]  # the limit of SNS
    try:
        _client("sns").publish(TopicArn=topic, Subject=line, Message=text)
    except (BotoCoreError, ClientError) as error:
        raise AwsError(
            f"SNS rejected a message ({_code(error)}). Check ALERT_SNS_TOPIC, AWS_REGION, and that "
            "this process has the permission sns:Publish for it."
        ) from error


def _client(service: Any) -> Any:
    return boto3.client(
        service,
        region_name=settings.AWS_REGION,
        endpoint_url=settings.AWS_ENDPOINT_URL or None,
        config=_CONFIG,
    )


def _code(error: BotoCoreError | ClientError) -> str:
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "unknown"))
    return type(error).__name__
