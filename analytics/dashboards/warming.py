"""Dashboards are computed again after a load, before anybody opens them.

The dashboards that members of a tenant opened in the last days are remembered in the cache. That is
good enough: if it loses them, the next visitor waits for the first page.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from time import monotonic
from typing import Any

from django.core.cache import cache
from django.utils import timezone

from analytics.dashboards.boards import DASHBOARDS
from analytics.dashboards.scope import Scope
from analytics.metrics import freshness_of, run_metrics
from analytics.periods import PeriodError
from analytics.warehouse.catalog import TABLES
from analytics.warehouse.errors import WarehouseError
from tenants.models import Tenant

log = logging.getLogger(__name__)

REMEMBERED = timedelta(days=7)
MAX_DASHBOARDS = 12  # of a tenant, the latest
MAX_SECONDS = 60.0
_AGAIN_AFTER = timedelta(minutes=10)  # a dashboard that stays open is remembered this often


def remember(slug: str, scope: Scope) -> None:
    """Note that a dashboard was opened. Those as of a past date stay the same, so are not noted."""
    if scope.as_of is not None:
        return
    opened, now = _opened(scope.tenant), timezone.now().timestamp()
    entry = [slug, {name: _plain(value) for name, value in scope.query.items()}]
    others = [each for each in opened if each[1] != entry]
    known = [at for at, each in opened if each == entry]
    if known and now - known[0] < _AGAIN_AFTER.total_seconds():
        return
    kept = [[now, entry], *others][:MAX_DASHBOARDS]
    cache.set(_key(scope.tenant), kept, REMEMBERED.total_seconds())


def _plain(value: str | Sequence[str]) -> str | list[str]:
    return value if isinstance(value, str) else list(value)


def _opened(tenant: Tenant) -> list[Any]:
    """[(timestamp, [slug, query])] of the dashboards opened in the last days, the latest first."""
    since = (timezone.now() - REMEMBERED).timestamp()
    return [each for each in cache.get(_key(tenant)) or [] if each[0] >= since]


def _key(tenant: Tenant) -> str:
    return f"dashboards-opened:{tenant.id}"


def warm(tenant: Tenant, may_go_on: Callable[[], bool]) -> int:
    """Compute the figures of the remembered dashboards into the cache; returns how many.

    It ends after MAX_SECONDS, when `may_go_on` returns false, or when the warehouse fails.
    """
    ends = monotonic() + MAX_SECONDS
    done = 0
    for _, (slug, query) in _opened(tenant):
        if monotonic() > ends or not may_go_on():
            break
        try:
            done += _warm_one(tenant, slug, query)
        except WarehouseError as error:
            log.warning("the dashboards of %s were not warmed: %s", tenant.id, error)
            break
    return done


def _warm_one(tenant: Tenant, slug: str, query: Mapping[str, Any]) -> bool:
    board = DASHBOARDS.get(slug)
    try:
        scope = Scope.of_query(tenant, query)
    except PeriodError:  # it was remembered by an earlier version
        return False
    if board is None:
        return False
    queries = [each for tile in board.tiles for each in tile.queries]
    freshness = freshness_of(tenant, TABLES)
    results = run_metrics(tenant, queries, scope.period, scope.as_of, scope.filters, freshness)
    for _, result in results:
        if isinstance(result, Exception):
            raise result
    return True
