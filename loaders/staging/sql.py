"""The SQL that stages good rows and writes bad ones as rejects, generated from the catalog.

Values are bound, identifiers quoted.
"""

from analytics.warehouse.catalog import HISTORY_COLUMNS, LINEAGE_COLUMNS, SENTINEL_SQL, Table
from analytics.warehouse.sql import literal, quote
from loaders.staging.casting import (
    Cast,
    casts,
    is_unprintable,
    key_fault,
    printable,
    record_hash,
    tenant_fault,
)
from loaders.staging.file_schema import FileSchema

# Parameters that every statement here is given.
LOAD = "{load_id:UInt64}"
TENANT = "{tenant_id:String}"
ATTEMPT = "{attempt:UInt32}"
LOADED_AT = "{loaded_at:DateTime64(3, 'UTC')}"


def columns_of(table: Table) -> list[str]:
    system = [column.name for column in (*HISTORY_COLUMNS, *LINEAGE_COLUMNS)]
    return ["tenant_id", *table.column_names, *system]


def names(columns: list[str]) -> str:
    return ", ".join(map(quote, columns))


def stage(table: Table, schema: FileSchema, relation: str, into: str) -> str:
    """Cast the good rows of `relation` into `into`, each as if it were its key's only version."""
    values = ", ".join(
        f"{cast.value} AS {quote(cast.column.name)}" for cast in casts(table, schema)
    )
    faults = " OR ".join(["broken != ''", *_faults(table, schema)])
    own = ", ".join(
        _required(name) if table.column(name).required else quote(name)
        for name in table.column_names
    )
    return f"""INSERT INTO {into} ({names(columns_of(table))})
SELECT {TENANT}, {own},
    coalesce({quote(table.changed_at)}, _time) AS effective_date, {SENTINEL_SQL}, true,
    {record_hash(table)}, {LOAD}, _path, _time, {LOADED_AT}
FROM (
    SELECT {values},
        _path, toDateTime64(assumeNotNull(_time), 3, 'UTC') AS _time
    FROM {relation}
    WHERE NOT ({faults})
)"""


def _required(name: str) -> str:
    return f"assumeNotNull({quote(name)})"


def _faults(table: Table, schema: FileSchema) -> list[str]:
    found = [condition for cast in casts(table, schema) for condition, _ in cast.faults]
    return [key_fault(table, schema), *filter(None, [tenant_fault(table, schema)]), *found]


def count_unprintable(table: Table, staged: str) -> str:
    """SELECT how many staged rows hold control characters."""
    return f"SELECT countIf({_is_any_unprintable(table)}) FROM {staged}"


def make_printable(table: Table, staged: str) -> str:
    """Replace control characters in the staged rows; their hashes are those of the new text."""
    values = {name: printable(quote(name)) for name in _texts(table)}
    changes = [f"{quote(name)} = {value}" for name, value in values.items()]
    changes.append(f"record_hash = {record_hash(table, values)}")
    return f"ALTER TABLE {staged} UPDATE {', '.join(changes)} WHERE {_is_any_unprintable(table)}"


def _is_any_unprintable(table: Table) -> str:
    return " OR ".join(is_unprintable(quote(name)) for name in _texts(table))


def _texts(table: Table) -> list[str]:
    """The columns in which control characters are replaced: in keys, they are faults."""
    return [each.name for each in table.columns if each.kind.is_text and not each.required]


def reject(table: Table, schema: FileSchema, relation: str, into: str) -> str:
    """Write every fault of every row of `relation` that `stage` left out."""
    return f"""INSERT INTO {into}
(tenant_id, table_name, load_id, attempt,
    source_file, source_row, row_key, column_name, value, reason, rejected_at)
SELECT {TENANT}, {literal(table.name)}, {LOAD}, {ATTEMPT}, _path, assumeNotNull(_row_number) + 1,
    if(isValidUTF8(row_key), row_key, ''), fault.1,
    {printable("substringUTF8(toValidUTF8(fault.2), 1, 1000)")}, fault.3, {LOADED_AT}
FROM (
    SELECT _path, _row_number,
        if(broken = '', ifNull({_key_of(table, schema).value}, ''), '') AS row_key,
        if(broken != '',
            [('', broken_text, broken)],
            arrayFilter(each -> each.3 != '', [{", ".join(_fault_tuples(table, schema))}])
        ) AS faults
    FROM {relation}
    WHERE {" OR ".join(["broken != ''", *_faults(table, schema)])}
)
ARRAY JOIN faults AS fault"""


def _fault_tuples(table: Table, schema: FileSchema) -> list[str]:
    everything = casts(table, schema)
    key = _key_of(table, schema)
    tuples = [
        _fault_tuple(key.source, key.text, key_fault(table, schema), "the business key is missing")
    ]
    if fault := tenant_fault(table, schema):
        tuples.append(_fault_tuple("tenant_id", "`raw_tenant_id`", fault, "names another tenant"))
    tuples += [
        _fault_tuple(cast.source, cast.text, condition, reason)
        for cast in everything
        for condition, reason in cast.faults
    ]
    return tuples


def _fault_tuple(column: str, text: str, fault: str, reason: str) -> str:
    return f"({literal(column)}, ifNull({text}, ''), if({fault}, {literal(reason)}, ''))"


def keys(table: Table, schema: FileSchema, relation: str, into: str) -> str:
    """Write only the keys of `relation`, of files whose rows an earlier load staged."""
    key = _key_of(table, schema)
    return f"""INSERT INTO {into} (entity, source_file)
SELECT assumeNotNull({key.value}), _path FROM {relation} WHERE {_has_key(table, schema)}"""


def files_with_other_keys(table: Table, target: str, keys: str) -> str:
    """SELECT the files in `keys` that hold a key which is not current."""
    return f"""SELECT DISTINCT source_file FROM {keys}
WHERE entity NOT IN (
    SELECT {quote(table.key)} FROM {target} WHERE tenant_id = {TENANT} AND is_current
)"""


def digest_of_keys(table: Table, schema: FileSchema, relation: str) -> str:
    """SELECT path, rows and digest of the keys, for each file of `relation`."""
    key = _key_of(table, schema).value
    return f"""SELECT _path, {key_digest(f"assumeNotNull({key})")} FROM {relation}
WHERE {_has_key(table, schema)} GROUP BY _path"""


def _has_key(table: Table, schema: FileSchema) -> str:
    faults = [condition for condition, _ in _key_of(table, schema).faults]
    return f"NOT ({' OR '.join([key_fault(table, schema), *faults])})"


def key_digest(key: str) -> str:
    """How many keys there are, and two sums over them that only equal sets of keys share."""
    return f"count(), sum(cityHash64({key})), sum(sipHash64({key}))"


def _key_of(table: Table, schema: FileSchema) -> Cast:
    return next(cast for cast in casts(table, schema) if cast.column.name == table.key)


def rejects_of_run(table: Table) -> str:
    """A condition over load_rejects."""
    return f"{of_table(table)} AND load_id = {LOAD} AND attempt = {ATTEMPT}"


def of_table(table: Table) -> str:
    return f"tenant_id = {TENANT} AND table_name = {literal(table.name)}"
