"""Log lines with the ids of tenant, job and request, and with all secrets redacted.

Links in mails are secrets, too: whoever has one opens the report. `RedactLinks` keeps their tokens
out of the lines that web servers write themselves.

`log_context(tenant=…, job=…)` adds ids to every line that this thread or task logs within it.
Requests get theirs from `RequestId`. With LOG_FORMAT=json, each line is one JSON object.
"""

import json
import logging
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from time import perf_counter
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from django.conf import settings
from django.core.signals import request_finished
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.utils.encoding import escape_uri_path
from pythonjsonlogger.json import JsonFormatter

access = logging.getLogger("avesa.access")

HIDDEN = "[HIDDEN]"
MIN_SECRET_LENGTH = 6  # a shorter one could be an ordinary word
MIN_PATH_LENGTH = 16
SERVER_LOGGERS = ("gunicorn.error", "waitress", "django.server")
_LINK = re.compile(
    r"(/r/)[0-9]+(?::|%3[Aa])[A-Za-z0-9_-]+"
    # A reset of a password, and the confirmation of a mail address.
    r"|(/account/forgotten/)[0-9A-Za-z]+-(?!set-password/)[^/\s]+"
    r"|(/account/mail/)[-\w]*(?::|%3[Aa])[-:%\w]+"
)
_ids: ContextVar[dict[str, Any]] = ContextVar("ids", default={})  # noqa: B039 (never changed)
_VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_registered_secrets: set[str] = set()


@contextmanager
def log_context(**ids: Any) -> Iterator[None]:
    """Add these ids to the lines logged within, next to those of outer contexts."""
    before = _ids.set(_ids.get() | ids)
    try:
        yield
    finally:
        _ids.reset(before)


def add_log_context(**ids: Any) -> None:
    """The same, until the end of the request."""
    _ids.set(_ids.get() | ids)


class RequestId:
    """Middleware: adds a request id, new or from the proxy, to log lines and the response.

    Logs each request, with its status and the time until its response began. Django logs errors
    after the middleware has ended, so the ids stay until the request ends.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "")
        request_id = given if _VALID_ID.fullmatch(given) else uuid.uuid4().hex
        _ids.set({"request": request_id})
        began = perf_counter()
        response = self._get_response(request)
        response["X-Request-ID"] = request_id
        milliseconds = (perf_counter() - began) * 1000
        path = escape_uri_path(request.path)  # no line breaks
        access.info("%s %s %d %.0f ms", request.method, path, response.status_code, milliseconds)
        return response


@receiver(request_finished)
def _clear_context(**signal: Any) -> None:
    _ids.set({})


# --- Formats


class LineFormatter(logging.Formatter):
    """For people: time, level, logger, message, ids."""

    def format(self, record: logging.LogRecord) -> str:
        ids = "".join(f" {name}={value}" for name, value in _ids.get().items())
        return redact(super().format(record) + (f" [{ids.strip()}]" if ids else ""))


class JsonLineFormatter(JsonFormatter):
    """For machines: one JSON object a line."""

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        super().add_fields(log_data, record, message_dict)
        log_data |= _ids.get()

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


# --- Secrets


def redact(text: str) -> str:
    """`text` with every secret that this process knows replaced."""
    secrets = _configured() | _registered_secrets
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return redact_links(text)


def redact_links(text: str) -> str:
    """`text` without the tokens of links in mails, of reports and accounts."""
    return _LINK.sub(lambda found: f"{found[1] or found[2] or found[3]}{HIDDEN}", text)


class RedactLinks(logging.Filter):
    """For loggers with handlers and formats of their own: those of web servers."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact_links(record.getMessage()), ()
        return True


def redact_server_logs() -> None:
    """Once per process; a second filter would find nothing to redact."""
    for name in SERVER_LOGGERS:
        logging.getLogger(name).addFilter(RedactLinks())


def forget_secrets() -> None:
    """Forget registered secrets, and read those in the settings again."""
    _registered_secrets.clear()
    _configured.cache_clear()


def register_secret(secret: str) -> None:
    """From now on, redact a secret that was read at run time."""
    _registered_secrets.update(_spellings(secret))


@lru_cache(maxsize=1)
def _configured() -> frozenset[str]:
    """Every secret in the settings, in each form a line may contain: plain, URL-quoted, JSON."""
    webhook = settings.ALERT_WEBHOOK_URL  # anyone who knows the URL can post
    warehouse = [settings.CLICKHOUSE_URL, settings.CLICKHOUSE_READER_URL]
    urls = [settings.CELERY_BROKER_URL, settings.CACHE_URL, *warehouse, webhook]
    path, query = urlsplit(webhook).path, urlsplit(webhook).query
    found = [
        settings.SECRET_KEY,
        *settings.SECRET_KEY_FALLBACKS,
        settings.LAKE_SECRET_ACCESS_KEY,
        getattr(settings, "EMAIL_HOST_PASSWORD", None) or "",
        str(settings.DATABASES["default"].get("PASSWORD") or ""),
        *(unquote(urlsplit(url).password or "") for url in urls),
        *(value for value in settings.ANYMAIL.values() if isinstance(value, str)),
        *(webhook, path if len(path) >= MIN_PATH_LENGTH else "", query),
        *(value for _, value in parse_qsl(query)),
        *(os.environ.get(name, "") for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")),
    ]
    return frozenset(spelling for secret in found for spelling in _spellings(secret))


def _spellings(secret: str) -> set[str]:
    if len(secret) < MIN_SECRET_LENGTH:
        return set()
    as_json = (json.dumps(secret, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False))
    return {secret, quote(secret, safe=""), *as_json}
