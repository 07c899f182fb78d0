"""System checks: a wrong setting stops the start, with a hint that names the variable."""

import logging
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from analytics.warehouse import reader_role
from analytics.warehouse.errors import WarehouseError
from analytics.warehouse.pool import READER, address, reachable
from loaders.pipelines.schedule import refresh_time

log = logging.getLogger(__name__)

BROKER_SCHEMES = {"redis", "rediss", "filesystem"}
CACHE_SCHEMES = {"redis", "rediss"}
TRANSPORTS = {"engine", "worker"}
LOG_FORMATS = {"line", "json"}
# Records are searched in blocks of 4 MB, and statements need some memory for themselves.
_LEAST = {
    "CLICKHOUSE_LOAD_MEMORY_MB": 0,
    "CLICKHOUSE_FILE_MEMORY_MB": 0,
    "LOAD_MAX_EXPANDED_MB": 1,
    "LOAD_SMALL_EXPANDED_MB": 0,
    "LOAD_MAX_RATIO": 1,
    "LOAD_MAX_HEADER_KB": 1,
    "LOAD_MAX_FOOTER_MB": 1,
    "LOAD_MAX_COLUMNS": 1,
    "LOAD_MAX_RECORD_MB": 4,
    "LOAD_MAX_VALUE_KB": 1,
    "LOAD_WORKER_MEMORY_MB": 1,
    "LOAD_IN_MEMORY_MB": 0,
    "DOWNLOAD_JOB_ROWS": 0,
    "DOWNLOAD_SECONDS": 1,
    "DOWNLOAD_MEGABYTES": 1,
    "DOWNLOAD_DAYS": 1,
    "DOWNLOADS_AT_ONCE": 1,
}


@register()
def secret_key_is_set(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG or settings.SECRET_KEY != settings.INSECURE_SECRET_KEY:
        return []
    return [
        Error(
            "SECRET_KEY is not set.",
            hint='Set it: python -c "import secrets; print(secrets.token_urlsafe(50))"',
            id="avesa.E001",
        )
    ]


@register()
def urls_are_valid(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    problems: list[CheckMessage] = []
    if urlsplit(settings.CELERY_BROKER_URL).scheme not in BROKER_SCHEMES:
        problems.append(
            Error(
                "CELERY_BROKER_URL is not a broker that AVESA supports.",
                hint="Use redis://host:6379/0, or leave it empty for the file-system broker.",
                id="avesa.E002",
            )
        )
    if settings.CACHE_URL and urlsplit(settings.CACHE_URL).scheme not in CACHE_SCHEMES:
        problems.append(
            Error(
                "CACHE_URL is not a cache that AVESA supports.",
                hint="Use redis://host:6379/1, or leave it empty for local memory.",
                id="avesa.E003",
            )
        )
    lake = settings.LAKE_ENDPOINT_URL
    if lake and (urlsplit(lake).scheme not in {"http", "https"} or not urlsplit(lake).hostname):
        problems.append(
            Error(
                "LAKE_ENDPOINT_URL is not an address.",
                hint="Use http(s)://host:port, or leave it empty for AWS.",
                id="avesa.E004",
            )
        )
    return problems


@register()
def mail_settings_are_valid(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    problems: list[CheckMessage] = []
    if settings.REPORT_LINK_DAYS < 1:
        problems.append(
            Error(
                f"REPORT_LINK_DAYS is {settings.REPORT_LINK_DAYS}.",
                hint="Use 1 or more.",
                id="avesa.E012",
            )
        )
    site = urlsplit(settings.SITE_URL)
    if site.scheme not in {"http", "https"} or not site.hostname:
        problems.append(
            Error(
                "SITE_URL is not an address.",
                hint="Use the address that people open, such as https://avesa.example.com: "
                "the links in mails begin with it.",
                id="avesa.E008",
            )
        )
    if settings.EMAIL_PROVIDER and not settings.ANYMAIL.get("WEBHOOK_SECRET"):
        problems.append(
            Warning(
                "ANYMAIL has no WEBHOOK_SECRET, so no bounces can be received.",
                hint='Add "WEBHOOK_SECRET": "name:password" to ANYMAIL and give the provider the '
                "address https://name:password@…/anymail/{provider}/tracking/",
                id="avesa.W002",
            )
        )
    return problems


@register()
def log_format_is_known(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    if settings.LOG_FORMAT in LOG_FORMATS:
        return []
    return [
        Error(
            f"LOG_FORMAT is {settings.LOG_FORMAT!r}.",
            hint=f"Use one of {', '.join(sorted(LOG_FORMATS))}.",
            id="avesa.E009",
        )
    ]


@register()
def load_settings_are_valid(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    problems: list[CheckMessage] = []
    if settings.LOAD_TRANSPORT not in TRANSPORTS:
        problems.append(
            Error(
                f"LOAD_TRANSPORT is {settings.LOAD_TRANSPORT!r}.",
                hint="Use engine (ClickHouse reads S3) or worker (workers stream to it).",
                id="avesa.E005",
            )
        )
    if bool(settings.LAKE_ACCESS_KEY_ID) != bool(settings.LAKE_SECRET_ACCESS_KEY):
        problems.append(
            Error(
                "Only one of LAKE_ACCESS_KEY_ID and LAKE_SECRET_ACCESS_KEY is set.",
                hint="Set both, or neither to use the AWS credential chain.",
                id="avesa.E006",
            )
        )
    return problems


@register()
def limits_are_valid(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    return [
        Error(
            f"{name} is {getattr(settings, name)}.", hint=f"Use {least} or more.", id="avesa.E020"
        )
        for name, least in _LEAST.items()
        if getattr(settings, name) < least
    ]


@register()
def schedule_is_valid(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    problems: list[CheckMessage] = []
    for name, minimum in (("LOADS_AT_ONCE", 1), ("LOADS_PER_TENANT", 1), ("PIPELINE_MINUTES", 0)):
        if getattr(settings, name) < minimum:
            problems.append(
                Error(
                    f"{name} is {getattr(settings, name)}.",
                    hint=f"Use {minimum} or more.",
                    id="avesa.E010",
                )
            )
    try:
        refresh_time()
    except ValueError:
        problems.append(
            Error(
                f"PIPELINE_REFRESH_AT is {settings.PIPELINE_REFRESH_AT!r}.",
                hint="Use a time of day such as 02:30, or leave it empty for no nightly refresh.",
                id="avesa.E011",
            )
        )
    return problems


@register()
def request_limits_are_valid(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    problems: list[CheckMessage] = [
        Error(
            f"REQUEST_LIMITS has {kind!r}: {numbers!r}.",
            hint="Use four numbers of 1 or more for each of "
            f"{', '.join(sorted(settings.REQUEST_KINDS))}, such as "
            '{"export": [2, 20, 4, 60]}: at once and per minute, of a user and of a tenant.',
            id="avesa.E015",
        )
        for kind, numbers in settings.REQUEST_LIMITS.items()
        if kind not in settings.REQUEST_KINDS or not _are_limits(numbers)
    ]
    minimums = {"READER_THREADS": 0, "READER_MEMORY_MB": 0, "EXPORT_SECONDS": 1}
    minimums |= {"EXPORT_MEGABYTES": 1, "CLICKHOUSE_POOL_SIZE": 1}
    problems += [
        Error(
            f"{name} is {getattr(settings, name)}.", hint=f"Use {least} or more.", id="avesa.E016"
        )
        for name, least in minimums.items()
        if getattr(settings, name) < least
    ]
    return problems


def _are_limits(numbers: Any) -> bool:
    return (
        isinstance(numbers, list | tuple)
        and len(numbers) == 4
        and all(isinstance(each, int) and each >= 1 for each in numbers)
    )


@register()
def warehouse_answers(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """A wrong CLICKHOUSE_URL stops the start; a warehouse that is down is only a warning."""
    try:
        at = address()
        if at.note:
            log.info("warehouse: %s", at.note)
        reachable(at)
    except ValueError as error:
        return [
            Error(
                f"CLICKHOUSE_URL is wrong: {error}",
                hint="Use clickhouse://user:password@host:9000/database, or clickhouses:// (TLS).",
                id="avesa.E007",
            )
        ]
    except WarehouseError as error:
        return [Warning(f"The warehouse does not answer: {error}", id="avesa.W001")]
    return []


@register()
def pages_cannot_write(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Pages should read as a user that can only read, on servers that have more than one user."""
    try:
        if READER.is_set and READER.address().database != address().database:
            return [_wrong_reader("it names another database than CLICKHOUSE_URL")]
        problem = reader_role.what_pages_can_write()
    except ValueError as error:
        return [_wrong_reader(str(error))]
    except WarehouseError:  # `warehouse_answers` reports it
        return []
    return [Warning(problem, hint=reader_role.HINT, id="avesa.W003")] if problem else []


def _wrong_reader(why: str) -> CheckMessage:
    return Error(
        f"CLICKHOUSE_READER_URL is wrong: {why}",
        hint="Use the address in CLICKHOUSE_URL with another user, or leave it empty.",
        id="avesa.E013",
    )
