"""The versions of records as they were stored at an earlier instant, `loaded_by`.

Loads only add versions and set when versions expire. So what was stored then are the versions of
the loads that had finished by then, each valid until the next of them took effect, or until the
end of its record. A full refresh ends records that are gone as of its newest file; the load log
has the instant at which it finished. Only records that a later load touched are derived again.

This cannot bring back what was replaced: versions before a later bulk load, and validity before a
later repair.
"""

from analytics.warehouse.catalog import SENTINEL_SQL, Table
from analytics.warehouse.sql import literal, quote, tenant_rows

_OF_REFRESH = "kind = 'refresh'"
LOADED_BY = "{loaded_by:DateTime64(3, 'UTC')}"


def loaded_by(table: Table, columns: str, where: str, more: str = "") -> str:
    """A subquery of the tenant's rows of `table` as they were then, like `sources.stored`."""
    key = quote(table.key)
    touched = tenant_rows(table.shared_name, key, f"{_is_later(table)} OR {_ended_later(table)}")
    others = tenant_rows(table.shared_name, "*", f"{key} NOT IN {touched}")
    return f"""(SELECT {columns} FROM (
SELECT * FROM {others}
UNION ALL
SELECT * FROM {_derived(table, touched)}
) WHERE ({where}){more})"""


def _derived(table: Table, touched: str) -> str:
    """The rows of `touched` keys that were loaded by then, with the validity that they had."""
    key = quote(table.key)
    published = tenant_rows(
        table.shared_name, "*", f"expiry_date >= effective_date AND {key} IN {touched}"
    )
    # A record ends where a version expires and none takes effect.
    is_end = (
        f"expiry_date > effective_date AND expiry_date != {SENTINEL_SQL}"
        f" AND NOT has(starts, expiry_date) AND NOT ({_ended_later(table)})"
    )
    return f"""(
SELECT * EXCEPT (starts, ends, following) REPLACE (
    arrayMin(arrayPushBack(arrayFilter(ends_at -> ends_at > effective_date, ends), following))
    AS expiry_date)
FROM (
    SELECT *, leadInFrame(effective_date, 1, {SENTINEL_SQL}) OVER (
        PARTITION BY {key} ORDER BY effective_date, source_time, record_hash
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS following
    FROM (
        SELECT *, groupUniqArrayIf(expiry_date, {is_end}) OVER (PARTITION BY {key}) AS ends
        FROM (
            SELECT *, groupUniqArray(effective_date) OVER (PARTITION BY {key}) AS starts
            FROM {published}
        )
    )
    WHERE NOT ({_is_later(table)})
))"""


def _is_later(table: Table) -> str:
    """Whether the load of a version had not finished."""
    return f"(loaded_at > {LOADED_BY} OR load_id IN {_loads(table, 'load_id', 'true')})"


def _ended_later(table: Table) -> str:
    """Whether a version expires where a refresh ended its record that had not finished."""
    return f"expiry_date IN {_loads(table, 'newest_file_time', _OF_REFRESH)}"


def _loads(table: Table, column: str, condition: str) -> str:
    return (
        f"(SELECT {column} FROM load_log_of(tenant_id = {{tenant_id:String}})"
        f" WHERE table_name = {literal(table.name)} AND {condition} GROUP BY {column}"
        f" HAVING min(finished_at) > {LOADED_BY})"
    )
