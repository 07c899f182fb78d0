"""AWS beside the lake: secrets and notices. Credentials come from the usual AWS chain."""

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

from common.logs import learn

log = logging.getLogger(__name__)

_CONFIG = Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 3})


class AwsError(Exception):
    """AWS refused or did not answer. The text says what to do and holds no secret."""


def secret(name: str) -> dict[str, Any]:
    """The JSON object that Secrets Manager keeps under `name` (a name or an ARN). AwsError."""
    try:
        found = _client("secretsmanager").get_secret_value(SecretId=name)
        value = json.loads(found["SecretString"])
    except (BotoCoreError, ClientError) as error:
        raise AwsError(
            f"The secret {name} cannot be read ({_code(error)}). Check its name, AWS_REGION, and "
            "that this process may secretsmanager:GetSecretValue on it."
        ) from error
    except (KeyError, ValueError) as error:
        raise AwsError(f"The secret {name} is no JSON text.") from error
    if not isinstance(value, dict):
        raise AwsError(f"The secret {name} is no JSON object.")
    return value


# --- Kept for a while: asking for each statement would be slow and dear

SECONDS_KEPT = 300
SECONDS_BETWEEN = 30  # two attempts to renew one while AWS is away
_kept: dict[str, tuple[float, dict[str, Any]]] = {}
_failed: dict[str, tuple[float, AwsError]] = {}
_renewing: defaultdict[str, Lock] = defaultdict(Lock)


def cached_secret(name: str) -> dict[str, Any]:
    """`secret(name)`, asked for every five minutes.

    While AWS is away, and while another thread asks, the last answer is used. AwsError if there is
    none.
    """
    value, is_old = _last(name)
    if not is_old or not _renewing[name].acquire(blocking=not value):
        return value
    try:
        value, is_old = _last(name)  # another thread may have renewed it
        return _renewed(name, value) if is_old else value
    finally:
        _renewing[name].release()


def _last(name: str) -> tuple[dict[str, Any], bool]:
    """What was last read, and whether it is so old that it should be read anew."""
    read_at, value = _kept.get(name, (float("-inf"), {}))
    return value, monotonic() - read_at >= SECONDS_KEPT


def _renewed(name: str, value: dict[str, Any]) -> dict[str, Any]:
    try:
        return _renew(name)
    except AwsError as error:
        if not value:
            raise
        log.warning("the last known secret is used: %s", error)
        return value


def was_rotated(name: str) -> bool:
    """Read the secret anew because it was refused; whether it differs from what was kept."""
    with _renewing[name]:
        _, before = _kept.get(name, (0.0, {}))
        try:
            return _renew(name) != before
        except AwsError as error:
            log.warning("a secret that was refused cannot be read anew: %s", error)
            return False


def _renew(name: str) -> dict[str, Any]:
    """Asks AWS, but not again so soon after it failed, as each attempt may take twenty seconds."""
    failed_at, last_error = _failed.get(name, (float("-inf"), AwsError()))
    if monotonic() - failed_at < SECONDS_BETWEEN:
        raise last_error
    try:
        value = secret(name)
    except AwsError as error:
        _failed[name] = (monotonic(), error)
        raise
    _failed.pop(name, None)
    for part, each in value.items():
        if isinstance(each, str) and ("secret" in part.lower() or "password" in part.lower()):
            learn(each)
    _kept[name] = (monotonic(), value)
    return value


# --- Notices


def publish(topic: str, subject: str, text: str) -> None:
    """A notice to an SNS topic. AwsError."""
    line = " ".join(subject.split())[:100]  # SNS takes no more
    try:
        _client("sns").publish(TopicArn=topic, Subject=line, Message=text)
    except (BotoCoreError, ClientError) as error:
        raise AwsError(
            f"SNS did not take a notice ({_code(error)}). Check ALERT_SNS_TOPIC, AWS_REGION, and "
            "that this process may sns:Publish to it."
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
