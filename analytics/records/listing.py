"""The records of a table: searched, filtered, sorted and paginated, as of any moment.

Pagination is by key, not by offset: each page starts after the last record of the previous one.
So page 1,000 is as fast as page 1, and no record shows twice when new rows arrive in between.
Texts are sorted by their first 100 characters, and then by key, so that cursors stay short.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import IO, Any

from analytics.metrics import Metric, records_query
from analytics.metrics.sources import DetailKind
from analytics.periods import Period, PeriodError, known_as_of, midnight, parse_day
from analytics.records import addresses
from analytics.records.names import naming_columns
from analytics.warehouse.catalog import Column, Kind, Table
from analytics.warehouse.exports import Watch
from analytics.warehouse.sql import quote
from analytics.warehouse.tenant_reader import TenantReader
from common import spreadsheets
from common.spreadsheets import WHOLE, Sheet
from common.texts import words
from tenants.models import Tenant

PAGE = 50
MAX_PER_PAGE = 500
MAX_CONDITIONS = 10
MAX_CHARACTERS = 200
MAX_SORTED_CHARACTERS = 100
MAX_CURSOR_CHARACTERS = 2000
LINKED = ("company_id", "contact_id")  # which rows link to the pages of
VERDICT = "verdict"  # the column of a drill-down that tells whether a record is part of a share
_INSTANT = "DateTime64(3, 'UTC')"

# The default columns and the default sort column of each table.
SHOWN = {
    "companies": "name status company_type industry number_of_employees annual_revenue updated_at",
    "contacts": "last_name first_name title company_name email is_active updated_at",
    "tickets": "ticket_number summary status priority company_name board_name owner_name "
    "created_date closed_date",
    "time_entries": "time_start member_name company_name ticket_id work_type_name actual_hours "
    "billable_option",
}
SORTED_BY = {
    "companies": "name",
    "contacts": "last_name",
    "tickets": "-created_date",
    "time_entries": "-time_start",
}
SEARCHED = {
    "companies": "company_id name company_identifier domain city",
    "contacts": "contact_id first_name last_name email company_name",
    "tickets": "ticket_id ticket_number summary company_name contact_name owner_name",
    "time_entries": "entry_id ticket_id member_name company_name notes",
}


class ListingError(ValueError):
    """An invalid request. `field` is the invalid parameter, `message` the reason."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


OPERATORS = {
    "is": "is",
    "not": "is not",
    "has": "contains",
    "min": "at least",
    "max": "at most",
    "empty": "is empty",
    "filled": "is not empty",
}


@dataclass(frozen=True)
class Condition:
    """`column` `operator` `value`, written as column~operator~value."""

    column: Column
    operator: str
    text: str

    @classmethod
    def parse(cls, table: Table, written: str) -> "Condition":
        name, operator, text = [*written.split("~", 2), "", ""][:3]
        if name not in table.column_names:
            raise ListingError("where", f"There is no column {name[:60]!r} in {table.name}.")
        if operator not in OPERATORS:
            raise ListingError("where", f"Use one of {', '.join(OPERATORS)} between the ~ signs.")
        if len(text) > MAX_CHARACTERS or "\0" in text:
            raise ListingError("where", f"Use a value of at most {MAX_CHARACTERS} characters.")
        return cls(table.column(name), operator, text)

    def __str__(self) -> str:
        return f"{self.column.name}~{self.operator}~{self.text}"

    def sql(self, number: int, tenant: Tenant) -> tuple[str, dict[str, Any]]:
        """The predicate and its parameters. Raises ListingError if the value does not fit."""
        column, name = quote(self.column.name), f"value_{number}"
        if self.operator in ("empty", "filled"):
            # An empty text counts as empty, like NULL.
            empty = f"ifNull(toString({column}), '') = ''"
            return (empty if self.operator == "empty" else f"NOT ({empty})"), {}
        if self.operator == "has":
            return (
                f"positionCaseInsensitiveUTF8(ifNull(toString({column}), ''), "
                f"{{{name}:String}}) > 0",
                {name: self.text},
            )
        if self.column.kind is Kind.INSTANT:
            return self._on_day(column, name, tenant)
        value, kind = self._value()
        sign = {"is": "=", "not": "!=", "min": ">=", "max": "<="}[self.operator]
        predicate = f"{column} {sign} {{{name}:{kind}}}"
        # A record without a value matches "is not".
        if self.operator == "not":
            predicate = f"ifNull({predicate}, true)"
        return predicate, {name: value}

    def _value(self) -> tuple[Any, str]:
        kind = self.column.kind
        if kind.is_text:
            return self.text, "String"
        if kind is Kind.BOOL:
            truth = {"yes": 1, "true": 1, "no": 0, "false": 0}.get(self.text.strip().lower())
            if truth is None:
                raise ListingError("where", f"Use yes or no for {self.column.name}.")
            return truth, "UInt8"
        try:
            number = Decimal(self.text.strip().replace(",", ""))
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or abs(number) >= 10**15:
            raise ListingError("where", f"Use a number for {self.column.name}, such as 12.5.")
        return f"{number:.4f}", "Decimal(38, 4)"

    def _on_day(self, column: str, name: str, tenant: Tenant) -> tuple[str, dict[str, Any]]:
        try:
            day = parse_day(self.text.strip(), "where")
        except PeriodError as error:
            raise ListingError("where", f"{self.column.name}: {error.message}") from None
        begins = midnight(day, tenant.zone)
        ends = midnight(day + timedelta(days=1), tenant.zone)
        first, last = f"{{{name}:{_INSTANT}}}", f"{{{name}_end:{_INSTANT}}}"
        match self.operator:
            case "min":
                return f"{column} >= {first}", {name: begins}
            case "max":
                return f"{column} < {last}", {f"{name}_end": ends}
        within = f"ifNull({column} >= {first} AND {column} < {last}, false)"
        both = {name: begins, f"{name}_end": ends}
        return (within if self.operator == "is" else f"NOT {within}"), both


@dataclass(frozen=True)
class DrillDown:
    """The records that a metric's figure counts; those of a part are filtered by its value.

    `verdict`: only those that are part of a share (True), or are not (False).
    """

    metric: Metric
    period: Period
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    verdict: bool | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        """What the metric shows of each record: its details and its verdict."""
        details = self.metric.source.details
        kinds = {DetailKind.DURATION: Kind.COUNT, DetailKind.DAYS: Kind.HOURS}
        found = [
            Column(name, kinds[details[name].kind], details[name].title)
            for name in self.metric.details
        ]
        if self.metric.verdict:
            found.append(Column(VERDICT, Kind.BOOL, self.metric.title))
        return tuple(found)

    def is_duration(self, column: Column) -> bool:
        """Whether a column holds milliseconds."""
        detail = self.metric.source.details.get(column.name)
        return column in self.columns and detail is not None and detail.kind is DetailKind.DURATION


@dataclass(frozen=True)
class Listing:
    """What to list. `sort` is a column; -column sorts descending.

    `after` is the `next` of the previous page. `as_of` defaults to now.
    """

    table: Table
    columns: tuple[Column, ...]
    sort: str
    as_of: datetime | None = None
    search: str = ""
    conditions: tuple[Condition, ...] = ()
    drill_down: DrillDown | None = None
    after: str = ""
    size: int = PAGE

    @property
    def sorted_column(self) -> Column:
        name = self.sort.removeprefix("-")
        return next(column for column in self.all_columns if column.name == name)

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """What can be shown and sorted by: the columns of the table and those of the metric."""
        return (*self.table.columns, *(self.drill_down.columns if self.drill_down else ()))

    @property
    def is_descending(self) -> bool:
        return self.sort.startswith("-")

    @property
    def is_by_key(self) -> bool:
        return self.sorted_column.name == self.table.key


def listing(
    table: Table,
    *,
    columns: Sequence[str] = (),
    sort: str = "",
    search: str = "",
    where: Sequence[str] = (),
    drill_down: DrillDown | None = None,
    **more: Any,
) -> Listing:
    """A listing from the parameters of a URL. Raises ListingError."""
    own = drill_down.columns if drill_down else ()
    known = {column.name: column for column in (*table.columns, *own)}
    for name in columns:
        if name not in known:
            raise ListingError("columns", f"There is no column {name[:60]!r} in {table.name}.")
    sort = sort or SORTED_BY[table.name]
    if sort.removeprefix("-") not in known:
        raise ListingError("sort", f"There is no column {sort[:60]!r} in {table.name}.")
    if len(search) > MAX_CHARACTERS or "\0" in search:
        raise ListingError("q", f"Search for at most {MAX_CHARACTERS} characters.")
    if len(where) > MAX_CONDITIONS:
        raise ListingError("where", f"Use at most {MAX_CONDITIONS} conditions.")
    usual = SHOWN[table.name].split()
    # What names a record comes first, then what the metric shows of it.
    shown = dict.fromkeys(columns or [*usual[:2], *(each.name for each in own), *usual[2:]])
    return Listing(
        table=table,
        columns=tuple(known[name] for name in shown),
        drill_down=drill_down,
        sort=sort,
        search=search.strip(),
        conditions=tuple(Condition.parse(table, each) for each in where),
        **more,
    )


@dataclass(frozen=True)
class Page:
    """`rows` are dicts with the key among their columns. `next` is the cursor; "" at the end."""

    rows: list[dict[str, Any]]
    next: str
    milliseconds: float


def page(tenant: Tenant, wanted: Listing) -> Page:
    """One page of records. Raises ListingError, WarehouseError."""
    source, conditions, bound = _narrowed(tenant, wanted)
    if wanted.after:
        predicate, more = _after(wanted)
        conditions.append(predicate)
        bound |= more
    found = TenantReader(tenant).select(
        f"{_select(wanted, source, conditions)} LIMIT {{page_size:UInt32}}",
        bound | {"page_size": wanted.size + 1},
    )
    rows = found.dicts()
    following = cursor(wanted, rows[wanted.size - 1]) if len(rows) > wanted.size else ""
    return Page(rows[: wanted.size], following, found.milliseconds)


def first_pages(
    tenant: Tenant, listings: Sequence[Listing]
) -> list[tuple[list[dict[str, Any]], int]]:
    """The first rows of several lists and how many records each has, by one statement.

    The lists have the same as-of instant and no drill-down. Raises ListingError, WarehouseError.
    """
    if not listings:
        return []
    bound: dict[str, Any] = {"page_size": listings[0].size}
    selects = []
    for number, wanted in enumerate(listings):
        source, conditions, more = _narrowed(tenant, wanted, number * MAX_CONDITIONS)
        bound |= more
        # Each list has columns of its own, NULL in the rows of the others.
        columns = [
            f"{quote(name) if place == number else 'NULL'} AS {quote(f'{name}_{place}')}"
            for place, each in enumerate(listings)
            for name in _selected(each)
        ]
        rows = _select(wanted, source, conditions, "count() OVER () AS total")
        selects.append(
            f"SELECT {number} AS list, total, {', '.join(columns)}"
            f" FROM ({rows} LIMIT {{page_size:UInt32}})"
        )
    found = TenantReader(tenant).select("\nUNION ALL\n".join(selects), bound).dicts()
    pages: list[tuple[list[dict[str, Any]], int]] = []
    for number, wanted in enumerate(listings):
        own = [row for row in found if row["list"] == number]
        names = _selected(wanted)
        rows_of_list = [{name: row[f"{name}_{number}"] for name in names} for row in own]
        pages.append((rows_of_list, own[0]["total"] if own else 0))
    return pages


def count(tenant: Tenant, wanted: Listing) -> int:
    """The number of records on all pages."""
    source, conditions, bound = _narrowed(tenant, wanted)
    sql = f"SELECT count() FROM {source}{_where(conditions)}"
    return int(TenantReader(tenant).select(sql, bound).values[0][0])


def table_file(
    tenant: Tenant, wanted: Listing, kind: str, about: str = "", watch: Watch | None = None
) -> IO[bytes]:
    """All records in order, as a temporary file (csv or xlsx), with durations in hours.

    A sheet shows `about` below its title. With `watch`, it is made by a job. Raises ExportRefused,
    ExportStopped, ListingError, WarehouseError.
    """
    source, conditions, bound = _narrowed(tenant, wanted)
    columns = [(column.name, quote(column.name)) for column in wanted.columns]
    if wanted.drill_down:
        columns = [
            (f"{column.name}_hours", _hours(name))
            if wanted.drill_down.is_duration(column)
            else (column.name, name)
            for column, (_, name) in zip(wanted.columns, columns, strict=True)
        ]
    headings = [
        spreadsheets.Column(title, _number_format(wanted, column))
        for column, (title, _) in zip(wanted.columns, columns, strict=True)
    ]
    name = words(wanted.table.name)
    title = f"{name} in {wanted.drill_down.metric.title}" if wanted.drill_down else name
    sheet = Sheet(name, headings, (), title, about)
    values = ", ".join(value for _, value in columns)
    sql = f"SELECT {values} FROM {source}{_where(conditions)} {_order(wanted)}"
    return TenantReader(tenant).table_file(sql, bound, sheet, kind, watch)


def _number_format(wanted: Listing, column: Column) -> str:
    if wanted.drill_down and wanted.drill_down.is_duration(column):
        return spreadsheets.HOURS
    known = {Kind.MONEY: spreadsheets.MONEY, Kind.HOURS: "#,##0.00", Kind.COUNT: WHOLE}
    return known.get(column.kind, "")


def _hours(milliseconds: str) -> str:
    return f"CAST(round(toDecimal128({milliseconds}, 8) / 3600000, 4), 'Nullable(Decimal(38, 4))')"


def sources(tenant: Tenant, wanted: Listing, most: int = 20) -> list[dict[str, Any]]:
    """The files and loads that the records came from, those with the most records first."""
    source, conditions, bound = _narrowed(tenant, wanted)
    sql = (
        "SELECT load_id, source_file, max(source_time) AS file_time, max(loaded_at) AS loaded_at, "
        f"count() AS records FROM {source}{_where(conditions)} "
        "GROUP BY load_id, source_file ORDER BY records DESC, source_file LIMIT {most:UInt32}"
    )
    rows = TenantReader(tenant).select(sql, bound | {"most": most}).dicts()
    for row in rows:
        row["file"] = row.pop("source_file").partition(f"/{tenant.id}/canonical/")[2]
    return rows


# --- The statement


def _narrowed(
    tenant: Tenant, wanted: Listing, first: int = 0
) -> tuple[str, list[str], dict[str, Any]]:
    """The source of the records, the conditions on it, and all parameters; those of conditions are
    numbered from `first`."""
    if wanted.drill_down:
        source, bound = _drill_down(tenant, wanted.table, wanted.drill_down, wanted.as_of)
    else:
        source = (
            f"{wanted.table.name}_as_of(tenant_id = {{tenant_id:String}}, "
            f"as_of = {{shown_as_of:{_INSTANT}}})"
        )
        bound = {"shown_as_of": known_as_of(tenant.zone, wanted.as_of)}
    conditions = []
    if wanted.search:
        texts = ", ' ', ".join(
            f"ifNull({quote(name)}, '')" for name in SEARCHED[wanted.table.name].split()
        )
        conditions.append(f"positionCaseInsensitiveUTF8(concat({texts}), {{search:String}}) > 0")
        bound["search"] = wanted.search
    for number, condition in enumerate(wanted.conditions, first):
        predicate, more = condition.sql(number, tenant)
        conditions.append(predicate)
        bound |= more
    return source, conditions, bound


def _drill_down(
    tenant: Tenant, table: Table, drill_down: DrillDown, as_of: datetime | None
) -> tuple[str, dict[str, Any]]:
    """The records that a figure counts. One that no longer existed then shows its last version."""
    if table.name != drill_down.metric.tables[0]:
        raise ListingError("metric", f"{drill_down.metric.title} does not count {table.name}.")
    metric = drill_down.metric
    if drill_down.verdict is not None and not metric.verdict:
        raise ListingError("verdict", f"{metric.title} has no verdict on its records.")
    query = records_query(
        tenant, metric, drill_down.period, as_of, drill_down.filters, drill_down.verdict
    )
    key = quote(table.key)
    records = f"""(
        SELECT * FROM {table.name}_history(tenant_id = {{tenant_id:String}})
        WHERE effective_date <= {{shown_as_of:{_INSTANT}}} AND {key} IN (
SELECT key FROM ({query.sql})
        )
        ORDER BY effective_date DESC LIMIT 1 BY {key}
    )"""
    bound = query.parameters | {"shown_as_of": query.shown_as_of}
    if not drill_down.columns:
        return records, bound
    # Details and verdicts are in the facts.
    facts = f"(\n{query.sql}\n    )"
    joined = f"{records} AS records INNER JOIN {facts} AS facts ON records.{key} = facts.key"
    return f"(SELECT * FROM {joined})", bound


def _select(wanted: Listing, source: str, conditions: Sequence[str], *more: str) -> str:
    columns = ", ".join([*map(quote, _selected(wanted)), *more])
    return f"SELECT {columns} FROM {source}{_where(conditions)} {_order(wanted)}"


def _selected(wanted: Listing) -> list[str]:
    """The columns of the statement: those shown, and what rows are named, linked and sorted by."""
    ids = (name for name in LINKED if name in wanted.table.column_names)
    shown = (column.name for column in wanted.columns)
    first = (wanted.table.key, wanted.sorted_column.name)
    return list(dict.fromkeys([*first, *shown, *naming_columns(wanted.table), *ids]))


def _where(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(f'({each})' for each in conditions)}" if conditions else ""


def _order(wanted: Listing) -> str:
    direction = "DESC" if wanted.is_descending else "ASC"
    return f"ORDER BY {_sorted(wanted)} {direction} NULLS LAST, {quote(wanted.table.key)}"


def _sorted(wanted: Listing) -> str:
    """The expression to sort by; its values fit into a cursor."""
    name = quote(wanted.sorted_column.name)
    if wanted.sorted_column.kind.is_text and not wanted.is_by_key:
        return f"substringUTF8({name}, 1, {MAX_SORTED_CHARACTERS})"
    return name


# --- Cursors


def cursor(wanted: Listing, row: Mapping[str, Any]) -> str:
    """The position of `row`: its sorted value and its key, short enough for any address."""
    value = None if wanted.is_by_key else _cursor_value(row[wanted.sorted_column.name])
    return _encoded([wanted.sort, value, addresses.written(row[wanted.table.key])])


def _cursor_value(value: Any) -> str | None:
    match value:
        case None:
            return None
        case datetime():
            utc = value.astimezone(UTC)
            return f"{utc:%Y-%m-%d %H:%M:%S}.{value.microsecond // 1000:03d}"
        case Decimal():
            return f"{value:f}"
    return str(value)[:MAX_SORTED_CHARACTERS]


def _encoded(parts: Sequence[Any]) -> str:
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
    return addresses.to_base64(text.encode())


def _after(wanted: Listing) -> tuple[str, dict[str, Any]]:
    """The predicate for records after the cursor; NULL sorts last."""
    value, key = _parse_cursor(wanted)
    last_key, bound = addresses.key_sql(wanted.table, key, "after_key")
    column, key_column = _sorted(wanted), quote(wanted.table.key)
    sign = "<" if wanted.is_descending else ">"
    if wanted.is_by_key:
        return f"{key_column} {sign} {last_key}", bound
    later_key = f"{key_column} > {last_key}"
    if value is None:
        return f"{column} IS NULL AND {later_key}", bound
    kind = wanted.sorted_column.kind
    typed = "String" if kind.is_text else "Bool" if kind is Kind.BOOL else kind.value
    bound["after_value"] = value
    last = f"{{after_value:{typed}}}"
    return (
        f"{column} IS NULL OR {column} {sign} {last} OR ({column} = {last} AND {later_key})",
        bound,
    )


def _parse_cursor(wanted: Listing) -> tuple[str | None, str | addresses.KeyDigest]:
    """The sorted value and the key. Users can change a cursor: only what we write is accepted."""
    try:
        if len(wanted.after) <= MAX_CURSOR_CHARACTERS:
            parts = json.loads(addresses.from_base64(wanted.after))
            sort, value, key = parts
            is_ours = _encoded(parts) == wanted.after and sort == wanted.sort
            if is_ours and isinstance(key, str) and _fits(wanted, value):
                return value, addresses.read(key)
    except (ValueError, TypeError, RecursionError):
        pass
    raise ListingError("after", "This page does not exist. Go back to the first page.")


_WRITTEN_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}")
_WRITTEN_COUNT = re.compile(r"-?[0-9]{1,19}")
_STORED_YEARS = range(1900, 2300)  # of DateTime64(3)


def _fits(wanted: Listing, value: Any) -> bool:
    """Whether a cursor's value is one of the sorted column, as we write it."""
    if value is None or wanted.is_by_key:
        return value is None
    if not isinstance(value, str):
        return False
    kind = wanted.sorted_column.kind
    match kind:
        case Kind.BOOL:
            return value in ("True", "False")
        case Kind.INSTANT:
            is_written = _WRITTEN_INSTANT.fullmatch(value) is not None
            return is_written and datetime.fromisoformat(value).year in _STORED_YEARS
        case Kind.COUNT:
            return _WRITTEN_COUNT.fullmatch(value) is not None and -(2**63) <= int(value) < 2**63
        case Kind.MONEY | Kind.HOURS:
            precision, scale = kind.decimal_size
            written = rf"-?[0-9]{{1,{precision - scale}}}(\.[0-9]{{1,{scale}}})?"
            return re.fullmatch(written, value) is not None
    return len(value) <= MAX_SORTED_CHARACTERS
