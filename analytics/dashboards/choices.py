"""The values that the filter panel offers."""

from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from django.utils import timezone

from analytics.metrics import Freshness
from analytics.metrics.cache import cached
from analytics.metrics.freshness import data_version
from analytics.periods import midnight, today_in
from analytics.warehouse.tenant_reader import TenantReader
from tenants.models import Tenant

Choice = tuple[str, str]
NAME = "choices"
FILTERS = ("company", "board", "priority", "team", "technician")  # of the panel
TABLES = ("companies", "tickets", "time_entries")


def choices(tenant: Tenant, freshness: Sequence[Freshness]) -> dict[str, list[Choice]]:
    """{filter: [(value, name)]} sorted by name, from current records. Raises WarehouseError."""
    tomorrow = today_in(tenant.zone, timezone.now()) + timedelta(days=1)
    bound = {"as_of": midnight(tomorrow, tenant.zone)}
    version = data_version(each for each in freshness if each.table_name in TABLES)

    def query() -> dict[str, Any]:
        return TenantReader(tenant).select(_sql(), bound).one()

    found = cached(tenant, NAME, (_sql(), bound), version, query)
    return {
        name: sorted(
            (tuple(each) if name == "company" else (each, each) for each in values if each),
            key=lambda choice: str(choice[1]).casefold(),
        )
        for name, values in found.items()
    }


@cache
def _sql() -> str:
    return (Path(__file__).parent / "choices.sql").read_text()
