"""The SQL that merges staged rows into history, generated from the catalog.

The versions of a key are ordered by effective date, then source time, then hash. Each is valid
until the next one takes effect, or until an *end*: the time at which a closed version expires and
no version follows. Of several versions with the same effective date only the last is visible; the
others have zero length. A version equal to the one before it is redundant.

A stored row is identified by (key, effective date, hash, loaded at). A row that expires before its
effective date is invisible: its load has not published it (yet). The plan ignores such rows.
"""

from typing import Any

from analytics.warehouse.catalog import INSTANT, PUBLISHING, SENTINEL_SQL, Table
from analytics.warehouse.sql import literal, quote
from loaders.staging.casting import record_hash
from loaders.staging.sql import LOAD, LOADED_AT, TENANT, columns_of, names, of_table, rejects_of_run

# The outcome of a staged version.
OUTCOMES = ("new", "changed", "late", "unchanged")

PLAN_COLUMNS = f"""entity String, effective_date {INSTANT}, source_time {INSTANT},
    record_hash String, loaded_at {INSTANT}, expiry_date {INSTANT}, is_current Bool,
    is_new Bool, moves Bool, outcome LowCardinality(String)"""
PLAN_ORDER = "(entity, effective_date)"
MOVES_COLUMNS = f"""entity String, effective_date {INSTANT}, record_hash String,
    loaded_at {INSTANT}, expiry_date {INSTANT}, is_current Bool, is_planned Bool"""
MOVES_KEYS = "entity, effective_date, record_hash, loaded_at"
STORED_COLUMNS = f"""entity String, effective_date {INSTANT}, record_hash String,
    source_time {INSTANT}, loaded_at {INSTANT}, expiry_date {INSTANT}, is_current Bool,
    load_id UInt64"""
TOUCHED_COLUMNS = "entity String"

# Above this many bytes, sorting and grouping spill to disk.
_IN_MEMORY = 4 << 30
SPILL: dict[str, Any] = {
    "max_bytes_before_external_sort": _IN_MEMORY,
    "max_bytes_before_external_group_by": _IN_MEMORY,
}
# A flip must commit as one patch part, or readers could see a part of it.
FLIP_SETTINGS: dict[str, Any] = {
    "max_insert_threads": 1,
    "min_insert_block_size_rows": 1_000_000_000,
    "min_insert_block_size_bytes": 0,
}

_STORED = f"tenant_id = {TENANT} AND expiry_date >= effective_date"
_EPOCH = "toDateTime64(0, 3, 'UTC')"


def recall(table: Table, target: str, staged: str, into: str) -> str:
    """Copy the target's rows of the staged keys, so that the target is read only once."""
    key = quote(table.key)
    return f"""INSERT INTO {into}
SELECT {_history_columns(table)} FROM {target}
WHERE {_STORED} AND {key} IN (SELECT {key} FROM {staged})"""


def _history_columns(table: Table) -> str:
    return (
        f"{quote(table.key)} AS entity, effective_date, record_hash, source_time, loaded_at, "
        "expiry_date, is_current, load_id"
    )


def touch(table: Table, staged: str, stored: str, into: str) -> str:
    """Find the keys with a staged version that differs from the current one."""
    key = quote(table.key)
    return f"""INSERT INTO {into} SELECT DISTINCT {key} FROM {staged}
WHERE ({key}, effective_date, record_hash) NOT IN (
    SELECT entity, effective_date, record_hash FROM {stored}
    WHERE is_current AND load_id != {LOAD}
)"""


def plan(table: Table, staged: str, stored: str, touched: str, into: str) -> str:
    """Plan the outcome of staged versions, and the new validity of stored ones that change.

    A pure function of the staged and stored rows of the touched keys, and therefore idempotent: a
    retry plans only what the first run had not done yet. Without `stored` and `touched` ('') it
    plans a new history from the staged rows alone.
    """
    rows = f"SELECT {_history_columns(table)}, false AS is_stored FROM {staged}"
    if stored:
        chosen = f"WHERE entity IN (SELECT entity FROM {touched})"
        rows = f"{rows} {chosen} UNION ALL SELECT *, true FROM {stored} {chosen}"
    return _plan(rows, into)


def _plan(rows: str, into: str, ends: str = "true") -> str:
    descending = (
        "PARTITION BY entity ORDER BY starts DESC, is_version DESC, source_time DESC, "
        "record_hash DESC, loaded_at DESC"
    )
    return f"""INSERT INTO {into}
SELECT entity, starts, source_time, record_hash, loaded_at,
    expires, expires = {SENTINEL_SQL} AS is_open,
    is_new AND NOT is_redundant,
    NOT is_redundant AND (is_new OR stored_expiry != expires OR stored_current != is_open)
        AS must_move,
    multiIf(
        NOT is_staged, '',
        is_redundant OR was_stored, 'unchanged',
        is_late, 'late',
        NOT is_known AND previous = '', 'new',
        'changed'
    ) AS planned_outcome
FROM (
    SELECT *,
        coalesce(minOrNullIf(starts, NOT is_redundant) OVER later, {SENTINEL_SQL}) AS expires,
        countIf(was_stored) OVER later > 0 AS is_late
    FROM (
        SELECT *,
            leadInFrame(record_hash, 1, '') OVER onwards AS previous,
            is_new AND previous = record_hash AS is_redundant,
            countIf(was_stored) OVER (PARTITION BY entity) > 0 AS is_known
        FROM ({_elements(rows, ends)})
        WINDOW onwards AS ({descending} ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
    )
    WINDOW later AS ({descending} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
)
WHERE is_version AND (must_move OR planned_outcome != '')"""


def _elements(rows: str, ends: str) -> str:
    """SELECT the versions and ends of the keys in `rows`, each with its origin.

    `is_new`: staged and not stored; of equal staged rows the one with the newest source counts, and
    none if a stored row is as new. `is_staged`: it is among the staged rows. `was_stored`: an
    earlier load stored it. `ends`: the condition for an expiry (`row.3`) to be an end.
    """
    return f"""
SELECT entity, element.1 AS starts, element.2 AS is_version, element.3 AS source_time,
    element.4 AS record_hash, element.5 AS loaded_at,
    element.6 AS stored_expiry, element.7 AS stored_current,
    element.8 AS is_new, element.9 AS is_staged, element.10 AS was_stored
FROM (
    SELECT entity, effective_date,
        groupArrayIf((source_time, loaded_at, expiry_date, is_current, load_id = {LOAD}), is_stored)
            AS rows,
        arrayMax(row -> row.1, rows) AS newest_stored,
        maxIf(source_time, NOT is_stored) AS newest_staged,
        max(NOT is_stored) AS in_stage,
        in_stage AND (empty(rows) OR newest_staged > newest_stored) AS is_fresh,
        arrayConcat(
            arrayMap(row -> (effective_date, true, row.1, record_hash, row.2, row.3, row.4,
                false, in_stage AND NOT is_fresh AND row.1 = newest_stored, NOT row.5), rows),
            arrayMap(row -> (row.3, false, {_EPOCH}, '', {_EPOCH}, row.3, false,
                false, false, NOT row.5),
                arrayFilter(row -> NOT row.4 AND row.3 > effective_date AND {ends}, rows)),
            if(is_fresh, [(effective_date, true, newest_staged, record_hash, {LOADED_AT},
                effective_date, false, true, true, false)], [])
        ) AS elements
    FROM ({rows})
    GROUP BY entity, effective_date, record_hash
)
ARRAY JOIN elements AS element"""


def moves(plan: str, into: str) -> str:
    """Copy the changes of the plan to a table in which the flip can look them up."""
    return f"""INSERT INTO {into}
SELECT entity, effective_date, record_hash, loaded_at, expiry_date, is_current, true
FROM {plan} WHERE moves
ORDER BY {MOVES_KEYS}, expiry_date DESC LIMIT 1 BY {MOVES_KEYS}"""


def insert_invisible(table: Table, target: str, staged: str, plan: str, intact: str) -> str:
    """Insert the new versions invisibly: they expire before they take effect."""
    columns = names(_without_validity(table))
    return f"""INSERT INTO {target} ({columns}, expiry_date, is_current)
SELECT {columns}, effective_date - toIntervalMillisecond(1), false
FROM ({_new_rows(table, staged, plan)}) WHERE {intact}"""


def flip(table: Table, target: str, plan: str, moves: str, intact: str) -> str:
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
NEWEST_PATCH = """
SELECT rows FROM system.parts
WHERE active AND database = {database:String} AND table = {table:String}
AND startsWith(partition_id, 'patch-') AND endsWith(partition_id, concat('-', (
    SELECT any(partition_id) FROM system.parts
    WHERE active AND database = {database:String} AND table = {table:String}
    AND partition = {tenant_id:String}
)))
ORDER BY max_block_number DESC LIMIT 1
"""


def published(table: Table, target: str, plan: str) -> str:
    """SELECT how many of the planned changes the target holds.

    Slow just after a flip, since every read has to apply its patch.
    """
    key = quote(table.key)
    version = "effective_date, record_hash, loaded_at, expiry_date, is_current"
    return f"""SELECT uniqExact({key}, effective_date, record_hash, loaded_at) FROM {target}
WHERE tenant_id = {TENANT} AND {key} IN (SELECT entity FROM {plan} WHERE moves)
AND ({key}, {version}) IN (SELECT entity, {version} FROM {plan} WHERE moves)"""


def count_stored(target: str) -> str:
    """SELECT how many rows a load of this tenant builds on: those that are published."""
    return f"SELECT count() FROM {target} WHERE {_STORED}"


def rebuild(table: Table, target: str, staged: str, plan: str, into: str, intact: str) -> str:
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
FROM (SELECT * FROM {target} WHERE {_STORED}) AS version
LEFT JOIN (SELECT * FROM {plan} WHERE moves) AS planned ON {match}""")
    if staged:
        parts.append(f"""SELECT {of_version}, planned.expiry_date, planned.is_current
FROM ({_new_rows(table, staged, plan)}) AS version
INNER JOIN (SELECT * FROM {plan} WHERE is_new) AS planned ON {match}""")
    return f"""INSERT INTO {into} ({names(columns)}, expiry_date, is_current)
SELECT * FROM ({" UNION ALL ".join(parts)}) WHERE {intact}"""


def _new_rows(table: Table, staged: str, plan: str) -> str:
    key = quote(table.key)
    return f"""SELECT * FROM {staged}
WHERE ({key}, effective_date, record_hash, source_time) IN (
    SELECT entity, effective_date, record_hash, source_time FROM {plan} WHERE is_new
)
ORDER BY {key}, effective_date, record_hash, source_file
LIMIT 1 BY {key}, effective_date, record_hash"""


def _without_validity(table: Table) -> list[str]:
    return [name for name in columns_of(table) if name not in {"expiry_date", "is_current"}]


# --- Full refresh


def reopen(table: Table, target: str, staged: str, taken_at: str) -> str:
    """Stage the newest rows of closed keys again, as of the snapshot.

    Otherwise a key that returns unchanged would stay closed: its version is older than its end.
    """
    key = quote(table.key)
    columns = [name for name in columns_of(table) if name != "effective_date"]
    of_version = ", ".join(f"version.{quote(name)}" for name in columns)
    return f"""INSERT INTO {staged} ({names(columns)}, effective_date)
SELECT {of_version}, greatest({_instant(taken_at)}, closed.since)
FROM (
    SELECT * FROM {staged}
    ORDER BY {key}, effective_date DESC, source_time DESC, record_hash DESC
    LIMIT 1 BY {key}
) AS version
INNER JOIN (
    SELECT {key} AS entity, max(expiry_date) AS since FROM {target}
    WHERE {_STORED} AND {key} IN (SELECT {key} FROM {staged})
    GROUP BY entity HAVING NOT max(is_current)
) AS closed ON version.{key} = closed.entity
WHERE version.effective_date < closed.since"""


def gone(table: Table, target: str, staged: str, keys: str, rejects: str) -> str:
    """SELECT the current versions whose key is in no file."""
    key = quote(table.key)
    return f"""SELECT {key} AS entity, effective_date, source_time, record_hash, loaded_at
FROM {target}
WHERE tenant_id = {TENANT} AND is_current
AND {key} NOT IN (SELECT {key} FROM {staged})
AND {key} NOT IN (SELECT entity FROM {keys})
AND {key} NOT IN (SELECT row_key FROM {rejects} WHERE {rejects_of_run(table)})"""


def count_gone(gone: str, taken_at: str) -> str:
    """SELECT how many of the versions in `gone` are older than the snapshot, and how many not."""
    is_older = f"effective_date < {_instant(taken_at)}"
    return f"SELECT countIf({is_older}), countIf(NOT {is_older}) FROM ({gone})"


def close(gone: str, into: str, taken_at: str) -> str:
    """Plan that the versions in `gone` expire at the snapshot, if they are older than it."""
    return f"""INSERT INTO {into}
SELECT entity, effective_date, source_time, record_hash, loaded_at,
    {_instant(taken_at)}, false, false, true, ''
FROM ({gone}) WHERE effective_date < {_instant(taken_at)}"""


def _instant(moment: str) -> str:
    return f"toDateTime64({literal(moment)}, 3, 'UTC')"


# --- Repair


def restore(table: Table, target: str, load_log: str, into: str) -> str:
    """Copy the rows that loads published, each once and with the hash of its values.

    A row that expires before it takes effect was not published, unless the load log has its load:
    then its expiry is wrong.
    """
    key = quote(table.key)
    columns = [name for name in columns_of(table) if name not in {"record_hash", "expiry_date"}]
    return f"""INSERT INTO {into} ({names(columns)}, record_hash, expiry_date)
SELECT {names(columns)}, {record_hash(table)} AS hash, greatest(expiry_date, effective_date)
FROM {target}
WHERE tenant_id = {TENANT} AND (expiry_date >= effective_date OR load_id IN (
    SELECT load_id FROM {load_log} FINAL WHERE {of_table(table)} AND kind != {literal(PUBLISHING)}
))
ORDER BY {key}, effective_date, hash, source_time, expiry_date < effective_date, loaded_at
LIMIT 1 BY {key}, effective_date, hash, source_time"""


def recall_all(table: Table, restored: str, into: str) -> str:
    return f"INSERT INTO {into} SELECT {_history_columns(table)} FROM {restored}"


def plan_anew(stored: str, closings: list[str], into: str, *, keep_ends: bool) -> str:
    """Plan new validity for the rows of `stored` whose validity does not follow from their order.

    Keys end only at `closings`, where a full refresh closed them. With `keep_ends` their last
    version also keeps its present end, since the version after it may have been lost.
    """
    rows = f"""SELECT *, true AS is_stored, max(effective_date) OVER (PARTITION BY entity) AS latest
FROM {stored}"""
    ends = f"has({instants(closings)}, row.3)"
    if keep_ends:
        ends = f"({ends} OR effective_date = any(latest))"
    return _plan(rows, into, ends)


def instants(moments: list[str]) -> str:
    """A SQL array of these times."""
    return f"CAST([{', '.join(map(_instant, moments))}], {literal(f'Array({INSTANT})')})"
