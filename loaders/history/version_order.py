"""The order of a key's versions: which one is late, which one adds nothing, how long each is valid.

The versions of a key stand in one order: by effective date, then source time, then hash. Each is
valid until the next one takes effect, or until an *end*: the moment at which a closed version
expires and no version begins. Of several versions with one effective date only the last is ever
visible; the others have zero length. A version equal to the one before it adds nothing. A version
that is staged for a time before a stored one is *late*: it is slotted in, and nothing after it
changes.

A stored row is known by (key, effective date, hash, loaded at). A row whose expiry lies before its
effective date was inserted by a run that has not made it visible (yet); the plan does not see it.
"""

from typing import Any

from django.conf import settings

from analytics.warehouse.catalog import INSTANT, PUBLISHING, SENTINEL_SQL, Table
from analytics.warehouse.sql import literal, quote
from loaders.staging.casting import record_hash
from loaders.staging.sql import LOAD, LOADED_AT, TENANT, columns_of, names, of_table

# The outcome of a staged version.
OUTCOMES = ("new", "changed", "late", "unchanged")

PLAN_COLUMNS = f"""entity String, effective_date {INSTANT}, source_time {INSTANT},
    record_hash String, loaded_at {INSTANT}, expiry_date {INSTANT}, is_current Bool,
    is_new Bool, moves Bool, outcome LowCardinality(String)"""
PLAN_ORDER = "(entity, effective_date)"
STORED_COLUMNS = f"""entity String, effective_date {INSTANT}, record_hash String,
    source_time {INSTANT}, loaded_at {INSTANT}, expiry_date {INSTANT}, is_current Bool,
    load_id UInt64"""
TOUCHED_COLUMNS = "entity String"


_SPILL_UNLIMITED = 4 << 30


def spill() -> dict[str, Any]:
    """Settings with which sorting and grouping go to disk before memory runs out."""
    most = (settings.CLICKHOUSE_LOAD_MEMORY_MB << 20) // 4 or _SPILL_UNLIMITED
    return {"max_bytes_before_external_sort": most, "max_bytes_before_external_group_by": most}


# The rows of a tenant that belong to history: not those of a run that has not published.
STORED = f"tenant_id = {TENANT} AND expiry_date >= effective_date"
_EPOCH = "toDateTime64(0, 3, 'UTC')"


def copy_stored(table: Table, target: str, staged: str, into: str) -> str:
    """Copy the target's rows of the staged keys, so that the target is read only once."""
    key = quote(table.key)
    return f"""INSERT INTO {into}
SELECT {_history_columns(table)} FROM {target}
WHERE {STORED} AND {key} IN (SELECT {key} FROM {staged})"""


def _history_columns(table: Table) -> str:
    return (
        f"{quote(table.key)} AS entity, effective_date, record_hash, source_time, loaded_at, "
        "expiry_date, is_current, load_id"
    )


def keys_to_plan(table: Table, staged: str, stored: str, into: str) -> str:
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


def copy_restored(table: Table, restored: str, into: str) -> str:
    return f"INSERT INTO {into} SELECT {_history_columns(table)} FROM {restored}"


def plan_again(stored: str, closings: list[str], into: str, *, keep_ends: bool) -> str:
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


def instant_sql(moment: str) -> str:
    return f"toDateTime64({literal(moment)}, 3, 'UTC')"


def instants(moments: list[str]) -> str:
    """A SQL array of these times."""
    return f"CAST([{', '.join(map(instant_sql, moments))}], {literal(f'Array({INSTANT})')})"
