"""Where one run of a load works: tables of its own, and the parameters its statements share.

A run that was declared dead may still have a statement going. Each of its statements needs one of
its tables, and dropping waits until no statement uses the table: once the next run has fenced off
earlier ones, none of theirs is under way and none can begin.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from django.conf import settings

from analytics.warehouse.catalog import Table
from analytics.warehouse.client import WarehouseClient
from analytics.warehouse.errors import Interrupted, WarehouseError
from analytics.warehouse.schema import placement
from analytics.warehouse.sql import literal
from loaders.staging.readers import READ_SETTINGS, read_limits
from tenants.models import Tenant

_LOST = "Rows that the load had put into a scratch table are gone."


class ScratchTables:
    """Scratch tables by what they hold, as quoted names.

    `staged` and `rebuilt` have the target's structure, `raw` is the worker transport's. `stored`
    holds what the target has of the staged keys, `touched` the keys for which there is something to
    plan, `plan` what becomes of each version, `moves` the part of it that the flip looks up, and
    `keys` the keys of files that need no staging. Parameters: `tenant_id`, `load_id`, `attempt` and
    `loaded_at`, which no two runs share.

    Tables `in_memory` suit small batches. A restart of the warehouse empties them, and one that
    loses power may lose the newest parts of others. So each table is filled through `fill`, which
    counts the rows that go in, and a statement that writes for readers carries `intact`: it fails
    unless exactly those rows are still there. Those of a `dry_run` hold rejects, too.
    """

    def __init__(
        self, tenant: Tenant, table: Table, load_id: int, attempt: int, dry_run: bool = False
    ) -> None:
        self.tenant = tenant
        self.table = table
        self.load_id = load_id
        self.attempt = attempt
        self.client = WarehouseClient(label=label_of(load_id, attempt))
        self.at = placement()
        self._run = f"{_prefix(tenant, table)}{load_id}:{attempt}"
        self.target = self.at.qualified(table.shared_name)
        self.load_log = self.at.qualified("load_log")
        self.dry_run = dry_run
        shared_rejects = self.at.qualified("load_rejects")
        self.rejects = self._named("rejects") if dry_run else shared_rejects
        self.staged = self._named("staged")
        self.rebuilt = self._named("rebuilt")
        self.raw = self._named("raw")
        self.stored = self._named("stored")
        self.touched = self._named("touched")
        self.plan = self._named("plan")
        self.moves = self._named("moves")
        self.keys = self._named("keys")
        self._in_memory = False
        self._size = 0  # bytes that statements wrote
        self._filled: dict[str, int] = {}
        self.parameters: dict[str, Any] = {
            "tenant_id": tenant.id,
            "load_id": load_id,
            "attempt": attempt,
            "loaded_at": instant(datetime.now(UTC)),
        }

    def _named(self, part: str) -> str:
        return self.at.qualified(f"{self._run}:{part}")

    @property
    def moves_for_join_get(self) -> str:
        return literal(f"{self.at.database}.{self._run}:moves")

    # --- Statements

    def run(self, sql: str, *, bind: bool = True, **query_settings: Any) -> int:
        """Execute one statement; returns the rows that it wrote."""
        parameters = self.parameters if bind else None
        written = self.client.run(sql, parameters, **READ_SETTINGS, **query_settings)
        self._size += written.size
        return written.rows

    def rows(self, sql: str, **parameters: Any) -> list[Any]:
        return self.client.rows(sql, {**self.parameters, **parameters}, **READ_SETTINGS)

    def value(self, sql: str, **parameters: Any) -> Any:
        return self.rows(sql, **parameters)[0][0]

    def rows_of_files(self, sql: str) -> list[Any]:
        """The same for a statement that reads files."""
        return self.client.rows(sql, self.parameters, **READ_SETTINGS, **read_limits())

    def fill(self, name: str, sql: str, **query_settings: Any) -> int:
        """Run an INSERT into the scratch table `name`; returns the rows that it wrote."""
        rows = self.run(sql, **query_settings)
        self._filled[name] += rows
        return rows

    @property
    def is_in_memory(self) -> bool:
        return self._in_memory

    @property
    def outgrows_memory(self) -> bool:
        """Whether more was written than should be in memory, whatever the files promised."""
        return self._in_memory and self._size > settings.LOAD_IN_MEMORY_MB << 20

    def move_to_disk(self) -> None:
        """Tables that are created from now on are not in memory."""
        self._in_memory = False

    def filled(self, name: str) -> int:
        """The rows that have gone into the scratch table `name`."""
        return self._filled[name]

    @property
    def intact(self) -> str:
        """A condition that fails its statement unless scratch tables hold what went into them.

        Each part is a scalar subquery: it is evaluated even if the statement finds no row.
        """
        return " AND ".join(
            f"(SELECT throwIf(count() != {rows}, {literal(_LOST)}) FROM {name}) = 0"
            for name, rows in self._filled.items()
        )

    def check_intact(self) -> None:
        """Raise Interrupted unless scratch tables hold what went into them."""
        if self._filled:
            self.rows(f"SELECT 1 WHERE {self.intact}")

    # --- Tables

    def create_staged(self) -> None:
        self._create(
            self.staged, f"AS {self.target}{' ENGINE = Memory' if self._in_memory else ''}"
        )
        if self.dry_run:  # like the shared one it may merge rows, so it is not counted
            self.drop(self.rejects)
            self.client.run(
                f"CREATE TABLE {self.rejects}{self.at.on_cluster} "
                f"AS {self.at.qualified('load_rejects')}"
            )

    def create_rebuilt(self) -> None:
        self._create(self.rebuilt, f"AS {self.target}")

    def create_moves(self, columns: str, keys: str) -> None:
        """A table for joinGet, which finds rows by `keys`."""
        persistent = 0 if self._in_memory else 1
        self._create(
            self.moves,
            f"({columns}) ENGINE = Join(ANY, LEFT, {keys}) SETTINGS persistent = {persistent}",
        )

    def create(self, name: str, columns: str, order_by: str = "tuple()") -> None:
        engine = "Memory" if self._in_memory else f"MergeTree ORDER BY {order_by}"
        self._create(name, f"({columns}) ENGINE = {engine}")

    def _create(self, name: str, what: str) -> None:
        self._filled[name] = 0
        self.client.run(f"CREATE TABLE {name}{self.at.on_cluster} {what}")

    def swap_in(self, scratch_table: str) -> None:
        """Put the scratch table in place of the tenant's partition, in one step for readers.

        Raises Interrupted if rows that went into it are missing, before or after.
        """
        self.check_intact()
        partition = f"PARTITION {literal(self.tenant.id)}"
        filled = self.filled(scratch_table)
        change = f"REPLACE {partition} FROM {scratch_table}" if filled else f"DROP {partition}"
        self.run(f"ALTER TABLE {self.target}{self.at.on_cluster} {change}", bind=False)
        rows = self.value(
            f"SELECT count() FROM {self.target} WHERE tenant_id = {{tenant_id:String}}"
        )
        if rows != filled:
            raise Interrupted(f"{filled} rows were to be published, but {rows} are there.")

    def log(self, kind: str, **more: Any) -> None:
        """Write an entry to load_log: a finished load or repair, or PUBLISHING.

        A run writes PUBLISHING before it publishes, and its own kind afterward, which replaces the
        first entry. In between, query results are not cached.
        """
        row = {
            "tenant_id": self.tenant.id,
            "table_name": self.table.name,
            "load_id": self.load_id,
            "kind": kind,
            "finished_at": datetime.now(UTC),
            **more,
        }
        self.client.insert(self.load_log, list(row), [[value] for value in row.values()])

    def drop(self, name: str) -> None:
        self._filled.pop(name, None)
        self.client.run(f"DROP TABLE IF EXISTS {name}{self.at.on_cluster} SYNC")

    @contextmanager
    def in_use(self, *, in_memory: bool = False) -> Iterator[None]:
        """Fence off earlier runs of this tenant and table; remove this run's tables at the end."""
        self._in_memory = in_memory
        for name in scratch_tables(self.tenant, self.table):
            self.drop(self.at.qualified(name))
        try:
            yield
        finally:
            self._remove()

    def _remove(self) -> None:
        """Remove this run's tables. A failure to do so must not hide why the load failed."""
        with suppress(WarehouseError):
            for name in scratch_tables(self.tenant, self.table):
                if name.startswith(f"{self._run}:"):
                    self.drop(self.at.qualified(name))


def _prefix(tenant: Tenant, table: Table) -> str:
    # Tenant ids hold no colon, so that no tenant's tables look like another's. The engine's
    # joinGet takes no name with a dot in it.
    return f"stage:{tenant.id}:{table.name}:"


def scratch_tables(tenant: Tenant, table: Table) -> list[str]:
    """The names of the scratch tables of all runs of this tenant and table."""
    rows = WarehouseClient().rows(
        "SELECT name FROM system.tables WHERE database = {database:String} "
        "AND startsWith(name, {prefix:String})",
        {"database": placement().database, "prefix": _prefix(tenant, table)},
    )
    return [name for (name,) in rows]


def load_of_scratch_table(name: str) -> int:
    """The load whose scratch table has this name."""
    return int(name.split(":")[3])


def label_of(load_id: int, attempt: int) -> str:
    """With what the ids of a run's statements begin."""
    return f"load-{load_id}-{attempt}-"


def instant(moment: datetime) -> str:
    """An aware datetime as a DateTime64(3, 'UTC') parameter."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
