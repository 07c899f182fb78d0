"""Log lines that say whose work they are about, and never hold a secret.

`noted(tenant=…, job=…)` puts ids on every line logged within it, in this thread or task; requests
get theirs from `RequestId`. With LOG_FORMAT=json each line is one JSON object.
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
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from django.conf import settings
from django.core.signals import request_finished
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from pythonjsonlogger.json import JsonFormatter

HIDDEN = "[HIDDEN]"
MIN_SECRET_LENGTH = 6  # what is shorter is a word that lines may hold by chance
MIN_PATH_LENGTH = 16
_ids: ContextVar[dict[str, Any]] = ContextVar("ids", default={})  # noqa: B039 (never changed)
_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_learned: set[str] = set()


@contextmanager
def noted(**ids: Any) -> Iterator[None]:
    """Lines logged within carry these ids besides those around them."""
    before = _ids.set(_ids.get() | ids)
    try:
        yield
    finally:
        _ids.reset(before)


def note(**ids: Any) -> None:
    """The same for the rest of a request."""
    _ids.set(_ids.get() | ids)


class RequestId:
    """Middleware: each request has an id, its own or the proxy's, on its lines and its answer.

    Django logs errors after the middleware has ended, so the ids stay until the request has.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "")
        request_id = given if _GIVEN_ID.fullmatch(given) else uuid.uuid4().hex
        _ids.set({"request": request_id})
        response = self._get_response(request)
        response["X-Request-ID"] = request_id
        return response


@receiver(request_finished)
def _forget(**signal: Any) -> None:
    _ids.set({})


# --- Formats


class LineFormatter(logging.Formatter):
    """For people: time, level, logger, message, ids."""

    def format(self, record: logging.LogRecord) -> str:
        ids = "".join(f" {name}={value}" for name, value in _ids.get().items())
        return hide(super().format(record) + (f" [{ids.strip()}]" if ids else ""))


class JsonLineFormatter(JsonFormatter):
    """For machines: one JSON object a line."""

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        super().add_fields(log_data, record, message_dict)
        log_data |= _ids.get()

    def format(self, record: logging.LogRecord) -> str:
        return hide(super().format(record))


# --- Secrets


def hide(text: str) -> str:
    """`text` without any secret that this process knows."""
    secrets = _configured() | _learned
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def learn(secret: str) -> None:
    """A secret that came at run time is hidden from now on."""
    _learned.update(_spellings(secret))


@lru_cache(maxsize=1)
def _configured() -> frozenset[str]:
    """Every secret of the settings, as it may stand in a line: plain, and as URLs spell it."""
    webhook = settings.ALERT_WEBHOOK_URL  # chat programs let in whoever knows the address
    urls = [settings.CELERY_BROKER_URL, settings.CACHE_URL, settings.CLICKHOUSE_URL, webhook]
    path, question = urlsplit(webhook).path, urlsplit(webhook).query
    found = [
        settings.SECRET_KEY,
        settings.LAKE_SECRET_ACCESS_KEY,
        getattr(settings, "EMAIL_HOST_PASSWORD", None) or "",
        str(settings.DATABASES["default"].get("PASSWORD") or ""),
        *(unquote(urlsplit(url).password or "") for url in urls),
        *(value for value in settings.ANYMAIL.values() if isinstance(value, str)),
        *(webhook, path if len(path) >= MIN_PATH_LENGTH else "", question),
        *(value for _, value in parse_qsl(question)),
        *(os.environ.get(name, "") for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")),
    ]
    return frozenset(spelling for secret in found for spelling in _spellings(secret))


def _spellings(secret: str) -> set[str]:
    if len(secret) < MIN_SECRET_LENGTH:
        return set()
    as_json = (json.dumps(secret, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False))
    return {secret, quote(secret, safe=""), *as_json}
