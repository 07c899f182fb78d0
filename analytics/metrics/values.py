"""The values that a dimension has in a tenant's records, for pickers of filters."""

from dataclasses import dataclass
from datetime import datetime

from analytics.metrics.cache import cached
from analytics.metrics.dimensions import Dimension, write_value
from analytics.metrics.freshness import data_version, freshness_of
from analytics.metrics.sources import SOURCES
from analytics.metrics.statement import values_sql
from analytics.periods import known_as_of
from analytics.warehouse.tenant_reader import TenantReader
from tenants.models import Tenant

NAME = "dimension_values"
MAX_VALUES = 1_000


@dataclass(frozen=True)
class DimensionValue:
    """`records` is how many have the value; None if it is one of a fixed list."""

    value: str
    label: str
    records: int | None

    @property
    def filter(self) -> str:
        """The value as filters are written."""
        return write_value(self.value)


def dimension_values(
    tenant: Tenant, dimension: Dimension, as_of: datetime | None, search: str, limit: int
) -> list[DimensionValue]:
    """The first `limit` values whose label contains `search`: the most used ones of the records
    that exist as of `as_of`, or those of the fixed list, in order. Raises WarehouseError.
    """
    if dimension.is_ordered:
        fixed = [DimensionValue(value, label, None) for value, label in dimension.labels]
        return [each for each in fixed if search.casefold() in each.label.casefold()][:limit]
    sql = values_sql(dimension.name)
    bound = {"as_of": known_as_of(tenant.zone, as_of), "search": search, "limit": limit}
    tables = {s.table.name for s in SOURCES.values() if dimension.name in s.dimensions}
    version = data_version(freshness_of(tenant, tables))
    found = cached(
        tenant, NAME, (sql, bound), version, lambda: TenantReader(tenant).select(sql, bound).values
    )
    return [DimensionValue(*row) for row in found]
