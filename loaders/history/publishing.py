"""Publishing a plan: prepared so that no reader sees it, then shown in one statement.

Small plans are *flipped*: new versions go in unseen, then one lightweight update sets the validity
of all that changes. Large ones, and first loads, *swap* the tenant's partition for a new one.
"""

from dataclasses import dataclass
from typing import Any

from analytics.warehouse.catalog import INSTANT, Table
from analytics.warehouse.errors import Interrupted
from analytics.warehouse.sql import quote
from loaders.history.merge import Plan
from loaders.history.version_order import STORED, spill
from loaders.staging.progress import Progress
from loaders.staging.scratch_tables import ScratchTables
from loaders.staging.sql import TENANT, columns_of, names

# A plan that moves more than this part of a tenant's rows is cheaper to swap than to flip.
SWAP_ABOVE = 0.25

_MOVES_COLUMNS = f"""entity String, effective_date {INSTANT}, record_hash String,
    loaded_at {INSTANT}, expiry_date {INSTANT}, is_current Bool, is_planned Bool"""
_MOVES_KEYS = "entity, effective_date, record_hash, loaded_at"

# A flip must commit as one patch part, or readers could see a part of it.
_FLIP_SETTINGS: dict[str, Any] = {
    "max_insert_threads": 1,
    "min_insert_block_size_rows": 1_000_000_000,
    "min_insert_block_size_bytes": 0,
}


@dataclass(frozen=True)
class Swap:
    """Ready to be published: `scratch_table` takes the place of the tenant's partition."""

    scratch_table: str


@dataclass(frozen=True)
class Flip:
    """Ready to be published: the validity of `moved` versions is set."""

    moved: int


def prepare(scratch: ScratchTables, made: Plan, progress: Progress) -> Swap | Flip | None:
    """Write what `publish` needs, so that no reader sees it yet. None if nothing changes."""
    if not made.moved:
        scratch.check_intact()
        return None
    if made.is_plain:
        return Swap(scratch.staged)
    if made.moved > made.stored * SWAP_ABOVE:
        return _rebuild(scratch, made, progress)
    return _insert_invisible(scratch, made, progress)


def publish(scratch: ScratchTables, prepared: Swap | Flip) -> None:
    """Make it visible: readers see the old state before this statement, the new one after.

    Raises Interrupted unless what they see now is what was planned.
    """
    match prepared:
        case Swap(scratch_table):
            scratch.swap_in(scratch_table)
        case Flip(moved):
            scratch.run(
                _flip_sql(
                    scratch.table,
                    scratch.target,
                    scratch.plan,
                    scratch.moves_for_join_get,
                    scratch.intact,
                ),
                **_FLIP_SETTINGS,
            )
            _expect("published", _count_published(scratch, moved), moved)


def _rebuild(scratch: ScratchTables, made: Plan, progress: Progress) -> Swap:
    progress.step("Building the new history")
    target = scratch.target if made.stored else ""
    kept = scratch.value(_count_stored_sql(target)) if target else 0
    scratch.create_rebuilt()
    built = scratch.fill(
        scratch.rebuilt,
        rebuild_sql(
            scratch.table,
            target,
            scratch.staged,
            scratch.plan,
            scratch.rebuilt,
            scratch.intact,
            are_distinct=made.are_distinct,
        ),
        **spill(),
    )
    _expect("built", built, kept + made.added)
    return Swap(scratch.rebuilt)


def _insert_invisible(scratch: ScratchTables, made: Plan, progress: Progress) -> Flip:
    progress.step(f"Adding {made.added} versions")
    scratch.create_moves(_MOVES_COLUMNS, _MOVES_KEYS)
    moved = scratch.fill(scratch.moves, _moves_sql(scratch.plan, scratch.moves))
    added = scratch.run(
        _insert_invisible_sql(
            scratch.table,
            scratch.target,
            scratch.staged,
            scratch.plan,
            scratch.intact,
            are_distinct=made.are_distinct,
        ),
        **spill(),
    )
    _expect("added", added, made.added)
    return Flip(moved)


def _count_published(scratch: ScratchTables, moved: int) -> int:
    """How many versions a flip moved: as many as its patch has rows, unless it was merged."""
    names = {"database": scratch.at.database, "table": scratch.table.shared_name}
    if scratch.rows(_NEWEST_PATCH, **names) == [(moved,)]:
        return moved
    count = _published_sql(scratch.table, scratch.target, scratch.plan)
    return int(scratch.value(f"{count} AND {scratch.intact}"))


def _expect(what: str, rows: int, planned: int) -> None:
    if rows != planned:
        raise Interrupted(f"{planned} rows were to be {what}, but {rows} were. Load again.")


# --- Statements


def _moves_sql(plan: str, into: str) -> str:
    """Copy the changes of the plan to a table in which the flip can look them up."""
    return f"""INSERT INTO {into}
SELECT entity, effective_date, record_hash, loaded_at, expiry_date, is_current, true
FROM {plan} WHERE moves
ORDER BY {_MOVES_KEYS}, expiry_date DESC LIMIT 1 BY {_MOVES_KEYS}"""


def _insert_invisible_sql(
    table: Table, target: str, staged: str, plan: str, intact: str, *, are_distinct: bool
) -> str:
    """Insert the new versions invisibly: they expire before they take effect."""
    columns = names(_without_validity(table))
    return f"""INSERT INTO {target} ({columns}, expiry_date, is_current)
SELECT {columns}, effective_date - toIntervalMillisecond(1), false
FROM ({_new_rows(table, staged, plan, are_distinct)}) WHERE {intact}"""


def _flip_sql(table: Table, target: str, plan: str, moves: str, intact: str) -> str:
    """Publish the plan: readers see the new versions and the ones they close at once.

    It must not read expiry_date or is_current, or it would wait for flips of other tenants.
    """
    key = quote(table.key)
    identity = f"{key}, effective_date, record_hash, loaded_at"
    return f"""UPDATE {target} SET
    expiry_date = joinGet({moves}, 'expiry_date', {identity}),
    is_current = joinGet({moves}, 'is_current', {identity})
WHERE tenant_id = {TENANT} AND {key} IN (SELECT entity FROM {plan} WHERE moves)
AND joinGet({moves}, 'is_planned', {identity}) AND {intact}"""


# The newest patch of a tenant's partition: the one of the last flip, unless it was merged.
_NEWEST_PATCH = """
SELECT rows FROM system.parts
WHERE active AND database = {database:String} AND table = {table:String}
AND startsWith(partition_id, 'patch-') AND endsWith(partition_id, concat('-', (
    SELECT any(partition_id) FROM system.parts
    WHERE active AND database = {database:String} AND table = {table:String}
    AND partition = {tenant_id:String}
)))
ORDER BY max_block_number DESC LIMIT 1
"""


def _published_sql(table: Table, target: str, plan: str) -> str:
    """SELECT how many of the planned changes the target holds.

    Slow just after a flip, since every read has to apply its patch.
    """
    key = quote(table.key)
    version = "effective_date, record_hash, loaded_at, expiry_date, is_current"
    return f"""SELECT uniqExact({key}, effective_date, record_hash, loaded_at) FROM {target}
WHERE tenant_id = {TENANT} AND {key} IN (SELECT entity FROM {plan} WHERE moves)
AND ({key}, {version}) IN (SELECT entity, {version} FROM {plan} WHERE moves)"""


def _count_stored_sql(target: str) -> str:
    """SELECT how many rows a load of this tenant builds on: those that are published."""
    return f"SELECT count() FROM {target} WHERE {STORED}"


def rebuild_sql(
    table: Table,
    target: str,
    staged: str,
    plan: str,
    into: str,
    intact: str,
    *,
    are_distinct: bool = False,
) -> str:
    """Write the tenant's whole history as planned, to swap its partition for it.

    Without a target ('') that is only the new versions; without `staged` ('') only the old ones.
    """
    columns = _without_validity(table)
    of_version = ", ".join(f"version.{quote(name)}" for name in columns)
    match = (
        f"version.{quote(table.key)} = planned.entity "
        "AND version.effective_date = planned.effective_date "
        "AND version.record_hash = planned.record_hash AND version.loaded_at = planned.loaded_at"
    )
    parts = []
    if target:
        parts.append(f"""SELECT {of_version},
    if(planned.moves, planned.expiry_date, version.expiry_date),
    if(planned.moves, planned.is_current, version.is_current)
FROM (SELECT * FROM {target} WHERE {STORED}) AS version
LEFT JOIN (SELECT * FROM {plan} WHERE moves) AS planned ON {match}""")
    if staged:
        parts.append(f"""SELECT {of_version}, planned.expiry_date, planned.is_current
FROM ({_new_rows(table, staged, plan, are_distinct)}) AS version
INNER JOIN (SELECT * FROM {plan} WHERE is_new) AS planned ON {match}""")
    return f"""INSERT INTO {into} ({names(columns)}, expiry_date, is_current)
SELECT * FROM ({" UNION ALL ".join(parts)}) WHERE {intact}"""


def _new_rows(table: Table, staged: str, plan: str, are_distinct: bool) -> str:
    """SELECT the rows of new versions. Only if some are staged twice, it costs a sort of all."""
    key = quote(table.key)
    rows = f"""SELECT * FROM {staged}
WHERE ({key}, effective_date, record_hash, source_time) IN (
    SELECT entity, effective_date, record_hash, source_time FROM {plan} WHERE is_new
)"""
    if are_distinct:
        return rows
    return f"""{rows}
ORDER BY {key}, effective_date, record_hash, source_file
LIMIT 1 BY {key}, effective_date, record_hash"""


def _without_validity(table: Table) -> list[str]:
    return [name for name in columns_of(table) if name not in {"expiry_date", "is_current"}]
