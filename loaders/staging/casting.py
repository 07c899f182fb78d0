"""From a file's columns to the catalog's: the SQL expressions that cast, check and explain.

A value that is present but cannot be cast makes its row a reject; it never becomes a silent NULL.
The engine's own lenient casts are fenced in: accurateCastOrNull reads '0000-00-00' as a date of
this year, lets hour 25 roll over, saturates milliseconds, and parseDateTime rolls 30 February.

Text holds no control characters except tab and line ends, since pages, mails and documents cannot
show them: each becomes U+FFFD. A key with one is a reject, since two keys could become the same.
Rows with such text are rare, so they are looked for, and changed, where they were staged.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings

from analytics.warehouse.catalog import TENANT_COLUMN, Column, Kind, Table
from analytics.warehouse.sql import literal, quote
from common.texts import REPLACEMENT
from loaders.staging import limits
from loaders.staging.file_schema import TEXT_TYPE, FileSchema

_TRUE = "'true', '1', '1.0', 't', 'yes', 'y'"
_FALSE = "'false', '0', '0.0', 'f', 'no', 'n'"
_INTEGER = r"^[+-]?[0-9]{1,19}([.]0*)?$"
_DECIMAL = r"^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,2})?$"
_INSTANT = (
    r"^[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,9})?)?"
    r" ?(Z|UTC|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)?)?$"
)
EARLIEST = "toDateTime64('1900-01-01 00:00:00', 3, 'UTC')"
LATEST = "toDateTime64('2299-12-31 00:00:00', 3, 'UTC')"

_REASONS = {
    Kind.BOOL: "not a yes or no (true, false, 1, 0)",
    Kind.COUNT: "not a whole number",
    Kind.MONEY: "not an amount that fits Decimal(18, 2)",
    Kind.HOURS: "not a number of hours that fits Decimal(10, 2)",
    Kind.INSTANT: "not a date and time between 1900 and 2299 (ISO 8601)",
}
NOT_UTF8 = "not UTF-8 text"
_UNPRINTABLE_KEY = "an identifier with control characters"
_UNPRINTABLE = literal(r"[\x00-\x08\x0B\x0C\x0E-\x1F\x{FFFE}\x{FFFF}]")
_NOT_SINGLE = "a list or an object, not a single value"


@dataclass(frozen=True)
class Cast:
    """One catalog column as this schema delivers it; expressions over `raw`'s columns.

    `value` has the catalog's type or is NULL, `text` is the text in the file. `faults` are
    (condition, reason): where a condition is true the value was present but cannot be taken.
    """

    column: Column
    source: str
    value: str
    faults: tuple[tuple[str, str], ...]
    text: str


def casts(table: Table, schema: FileSchema) -> list[Cast]:
    return [_cast(column, schema) for column in table.columns]


def raw_name(source: str) -> str:
    return quote(f"raw_{source}")


def readable(table: Table, schema: FileSchema) -> list[str]:
    """The source columns that a statement over `schema` reads."""
    known = dict.fromkeys([*table.source_names, TENANT_COLUMN.name])
    return [name for name in known if schema.may_have(name)]


def tenant_fault(table: Table, schema: FileSchema) -> str:
    """True where the row names another tenant; '' if rows name none."""
    if TENANT_COLUMN.name not in readable(table, schema):
        return ""
    return f"ifNull({raw_name(TENANT_COLUMN.name)}, {{tenant_id:String}}) != {{tenant_id:String}}"


def key_fault(table: Table, schema: FileSchema) -> str:
    """True where the row has no business key: nothing, blanks, or what stands for no number."""
    key = f"ifNull({_cast(table.column(table.key), schema).value}, '')"
    return f"(isValidUTF8({key}) AND (NOT match({key}, '[^[:space:]]') OR lower({key}) = 'nan'))"


def printable(text: str) -> str:
    """The String expression `text` without control characters, as `common.texts.printable`."""
    return f"replaceRegexpAll({text}, {_UNPRINTABLE}, '{REPLACEMENT}')"


def is_unprintable(text: str) -> str:
    """True where `printable` would change the String expression `text`; NULL where it is NULL.

    As fast as `isValidUTF8`; `match` takes six times as long.
    """
    return f"multiMatchAny({text}, [{_UNPRINTABLE}])"


def record_hash(table: Table, value_of: Mapping[str, str] | None = None) -> str:
    """The comparison hash over the catalog-typed columns, called by name or taken from `value_of`.

    A sum, so that neither the order of columns nor a new all-NULL column changes it; each value is
    hashed with its column's name, so that ('a', 'bc') and ('ab', 'c') differ; NULL adds nothing,
    so NULL and '' differ.
    """
    values = {column.name: quote(column.name) for column in table.columns} | dict(value_of or {})
    terms = " + ".join(
        f"ifNull(cityHash64({literal(name)}, {value}), 0)" for name, value in sorted(values.items())
    )
    return f"lower(hex({terms}))"


def _cast(column: Column, schema: FileSchema) -> Cast:
    present = [source for source in column.sources if schema.may_have(source.name)]
    if not present:
        nothing = f"CAST(NULL, {literal(column.kind.ddl(required=False))})"
        return Cast(column, column.name, nothing, (), "''")
    options = [_from(column, source.name, schema) for source in present]
    values = [
        _conditional(option.value, source.negated, source.only_when, schema)
        for option, source in zip(options, present, strict=True)
    ]
    if len(options) == 1:
        return Cast(column, options[0].source, values[0], options[0].faults, options[0].text)
    # A file may deliver a column under several names: each row takes the first that has a value,
    # and is at fault only for what it would have taken.
    return Cast(
        column,
        options[0].source,
        f"coalesce({', '.join(values)})",
        _used_faults(options),
        f"coalesce({', '.join(option.text for option in options)})",
    )


def _used_faults(options: list[Cast]) -> tuple[tuple[str, str], ...]:
    """The faults of each source where those before it are empty."""
    faults: list[tuple[str, str]] = []
    before = ""
    for option in options:
        faults += [(f"({before}{condition})", reason) for condition, reason in option.faults]
        before += f"isNull({option.value}) AND "
    return tuple(faults)


def _conditional(
    value: str, negated: bool, only_when: tuple[str, tuple[str, ...]] | None, schema: FileSchema
) -> str:
    if negated:
        value = f"NOT ({value})"
    if only_when is None:
        return value
    column, accepted = only_when
    if not schema.may_have(column):
        return "CAST(NULL, 'Nullable(String)')"
    folded = f"lower(replaceRegexpAll(ifNull({raw_name(column)}, ''), '[ _]', ''))"
    return f"if({folded} IN ({', '.join(map(literal, accepted))}), {value}, NULL)"


def _from(column: Column, source: str, schema: FileSchema) -> Cast:
    raw = raw_name(source)
    read_type = schema.read_type_of.get(source, TEXT_TYPE)
    if column.kind.is_text:
        return Cast(column, source, raw, _text_faults(column, source, raw, schema), raw)
    reason = _REASONS[column.kind]
    if read_type == TEXT_TYPE:
        value = _parsed(column.kind, f"nullIf(trimBoth({raw}), '')")
        fault = f"(trimBoth(ifNull({raw}, '')) != '' AND isNull({value}))"
        return Cast(column, source, value, ((fault, reason),), raw)
    return Cast(column, source, raw, (), f"toString({raw})")


def _text_faults(
    column: Column, source: str, raw: str, schema: FileSchema
) -> tuple[tuple[str, str], ...]:
    faults = [
        (f"NOT ifNull(isValidUTF8({raw}), true)", NOT_UTF8),
        (f"ifNull(length({raw}) > {limits.value_bytes()}, false)", _too_long()),
    ]
    if column.required:
        faults.append((f"ifNull({is_unprintable(raw)}, false)", _UNPRINTABLE_KEY))
    if schema.format == "jsonl":
        kind = f"JSONType(broken_text, {literal(source)})"
        nested = f"(match({raw}, '^[{{[[]') AND {kind} IN ('Object', 'Array'))"
        faults.append((f"ifNull({nested}, false)", _NOT_SINGLE))
    return tuple(faults)


def _too_long() -> str:
    return f"longer than {settings.LOAD_MAX_VALUE_KB:,} kB (LOAD_MAX_VALUE_KB)"


def _parsed(kind: Kind, text: str) -> str:
    """A typed value of Nullable(String) `text`, NULL where it is not wholly of that kind."""
    match kind:
        case Kind.BOOL:
            folded = f"lower({text})"
            return (
                f"CAST(multiIf({folded} IN ({_TRUE}), true, {folded} IN ({_FALSE}), false, NULL), "
                "'Nullable(Bool)')"
            )
        case Kind.COUNT:
            digits = f"replaceRegexpOne({text}, '^[+]|[.]0*$', '')"
            whole = f"replaceRegexpOne({digits}, '[.]0*$', '')"
            return f"if(match({text}, {literal(_INTEGER)}), toInt64OrNull({whole}), NULL)"
        case Kind.INSTANT:
            return _parsed_instant(text)
    precision, scale = kind.decimal_size
    # More digits than the scale are rounded as SQL databases do; more before the point is a fault.
    wide = f"toDecimal128OrNull({text}, 12)"
    rounded = f"round({wide}, {scale})"
    limit = f"toDecimal128('1{'0' * (precision - scale)}', 0)"
    fits = f"match({text}, {literal(_DECIMAL)}) AND abs({rounded}) < {limit}"
    return f"if({fits}, accurateCastOrNull({rounded}, {literal(kind.value)}), NULL)"


def _parsed_instant(text: str) -> str:
    day = f"substring({text}, 1, 10)"
    real_day = f"toString(toDate32OrNull({day})) = {day}"
    # The parser wants minutes in an offset, which PostgreSQL leaves out: 10:00:00+02.
    whole = rf"replaceRegexpOne({text}, '(:[0-9.]+ ?[+-][0-9]{{2}})$', '\\1:00')"
    parsed = f"parseDateTime64BestEffortOrNull({whole}, 3, 'UTC')"
    sane = f"match({text}, {literal(_INSTANT)}) AND {real_day}"
    return f"if({sane} AND {parsed} BETWEEN {EARLIEST} AND {LATEST}, {parsed}, NULL)"
