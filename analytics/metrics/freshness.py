"""How fresh the data is: the newest finished load of each table."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from analytics.warehouse.catalog import LOAD_LOG, PUBLISHING, REPAIR
from analytics.warehouse.sql import tenant_rows
from analytics.warehouse.tenant_reader import TenantReader
from tenants.models import Tenant

# For each table, the newest finished load, and the newest entry of any other kind.
_COLUMNS = "table_name, load_id, kind, finished_at, newest_file, newest_file_time"
_LOG = tenant_rows(LOAD_LOG.name, _COLUMNS, "table_name IN {tables:Array(String)}", is_final=True)
_SQL = f"""SELECT {_COLUMNS} FROM {_LOG}
ORDER BY finished_at DESC, load_id DESC
LIMIT 1 BY table_name, kind IN ('{REPAIR}', '{PUBLISHING}')"""


@dataclass(frozen=True)
class Freshness:
    """The newest finished load of a table, and when its stored rows last changed.

    `changed_at` is None while a load or repair is about to change them.
    """

    table_name: str
    load_id: int
    finished_at: datetime
    newest_file: str
    newest_file_time: datetime
    changed_at: datetime | None

    @property
    def file_name(self) -> str:
        """The file's name, without its bucket and path, which users do not need to see."""
        return self.newest_file.rsplit("/", 1)[-1]

    @property
    def version(self) -> str:
        """Changes with every load or repair of the table; "" while one publishes its rows."""
        return f"{self.table_name}:{self.load_id}:{self.changed_at}" if self.changed_at else ""


def freshness_of(tenant: Tenant, tables: Collection[str]) -> tuple[Freshness, ...]:
    """The newest finished load of each of `tables`; none for tables never loaded."""
    rows = TenantReader(tenant).select(_SQL, {"tables": sorted(tables)}).dicts()
    loads = [row for row in rows if row["kind"] not in (REPAIR, PUBLISHING)]
    later = {row["table_name"]: row for row in rows if row["kind"] in (REPAIR, PUBLISHING)}
    return tuple(_freshness(row, later.get(row["table_name"], row)) for row in loads)


def _freshness(load: dict[str, Any], other: dict[str, Any]) -> Freshness:
    newest = max(load, other, key=lambda row: row["finished_at"])
    changed_at = None if newest["kind"] == PUBLISHING else newest["finished_at"]
    del load["kind"]
    return Freshness(**load, changed_at=changed_at)


def data_version(freshness: Iterable[Freshness]) -> str:
    """The combined version of these tables; "" if one of them is changing."""
    versions = [each.version for each in freshness]
    return " ".join(sorted(versions)) if all(versions) else ""
