"""The names of companies, which figures by company are shown with."""

from collections.abc import Sequence
from datetime import datetime

from analytics.metrics.cache import cached
from analytics.metrics.freshness import Freshness, data_version
from analytics.metrics.sources import AS_OF
from analytics.warehouse.catalog import COMPANIES
from analytics.warehouse.sql import tenant_rows
from analytics.warehouse.tenant_reader import TenantReader
from tenants.models import Tenant

NAME = "company_names"
_ROWS = tenant_rows(
    COMPANIES.shared_name,
    "company_id, name",
    f"effective_date <= {AS_OF} AND expiry_date > {AS_OF} AND name != ''",
)
_SQL = f"SELECT company_id, name FROM {_ROWS}"


def company_names(
    tenant: Tenant, as_of: datetime, freshness: Sequence[Freshness]
) -> dict[str, str]:
    """{company_id: name} of the companies that exist as of `as_of`. Raises WarehouseError."""
    version = data_version(each for each in freshness if each.table_name == COMPANIES.name)
    bound = {"as_of": as_of}
    return dict(
        cached(
            tenant,
            NAME,
            (_SQL, bound),
            version,
            lambda: TenantReader(tenant).select(_SQL, bound).values,
        )
    )
