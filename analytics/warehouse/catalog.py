"""The data contract: every table and column, declared once.

DDL, views, casting, hashing, validation and docs/data-dictionary.md are derived from it. To add a
table, add a `Table` to `TABLES`; to add a column, add a `Column` to its table. Then run
`manage.py warehouse_schema apply`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property


class Kind(Enum):
    """The kind of a column; its value is the ClickHouse type without Nullable."""

    TEXT = "String"
    CATEGORY = "LowCardinality(String)"
    BOOL = "Bool"
    COUNT = "Int64"
    MONEY = "Decimal(18, 2)"
    HOURS = "Decimal(10, 2)"
    INSTANT = "DateTime64(3, 'UTC')"

    @property
    def is_text(self) -> bool:
        return self in (Kind.TEXT, Kind.CATEGORY)

    @property
    def is_decimal(self) -> bool:
        return self in (Kind.MONEY, Kind.HOURS)

    @property
    def decimal_size(self) -> tuple[int, int]:
        """(precision, scale) of a decimal kind."""
        return {Kind.MONEY: (18, 2), Kind.HOURS: (10, 2)}[self]

    def ddl(self, *, required: bool) -> str:
        if required:
            return self.value
        if self is Kind.CATEGORY:
            return "LowCardinality(Nullable(String))"
        return f"Nullable({self.value})"


@dataclass(frozen=True)
class Alias:
    """Another name for a column in upstream files.

    `negated` inverts a flag. `only_when` is (column, values): in other rows the value is NULL.
    Values are compared without case, spaces and underscores.
    """

    name: str
    negated: bool = False
    only_when: tuple[str, tuple[str, ...]] | None = None


@dataclass(frozen=True)
class Column:
    name: str
    kind: Kind
    doc: str
    aliases: tuple[Alias, ...] = ()
    required: bool = False

    @property
    def ddl_type(self) -> str:
        return self.kind.ddl(required=self.required)

    @property
    def sources(self) -> tuple[Alias, ...]:
        """The names that this column may have in a file, the canonical name first."""
        return (Alias(self.name), *self.aliases)


@dataclass(frozen=True)
class Table:
    """One entity. `name` is its name in the lake, in URLs and in views."""

    name: str
    key: str
    changed_at: str
    columns: tuple[Column, ...]
    doc: str

    @property
    def shared_name(self) -> str:
        return f"shared_{self.name}"

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    @property
    def source_names(self) -> Iterator[str]:
        for column in self.columns:
            for source in column.sources:
                yield source.name


SENTINEL = "2999-12-31 23:59:59.000"
SENTINEL_SQL = f"toDateTime64('{SENTINEL}', 3, 'UTC')"


@dataclass(frozen=True)
class SystemColumn:
    """A column that AVESA adds. `default` is an SQL expression."""

    name: str
    ddl_type: str
    doc: str
    default: str = ""


INSTANT = Kind.INSTANT.value

HISTORY_COLUMNS = (
    SystemColumn("effective_date", INSTANT, "Start of this version's validity (inclusive, UTC)."),
    SystemColumn(
        "expiry_date",
        INSTANT,
        "End of its validity (exclusive, UTC); 2999-12-31 23:59:59 while it is current.",
        default=SENTINEL_SQL,
    ),
    SystemColumn("is_current", "Bool", "True for the version that is valid now."),
    SystemColumn("record_hash", "String", "Hash of all business columns, to detect changes."),
)
LINEAGE_COLUMNS = (
    SystemColumn("load_id", "UInt64", "The load job that added this version."),
    SystemColumn("source_file", "LowCardinality(String)", "bucket/key of its file."),
    SystemColumn("source_time", INSTANT, "When that file was last modified in the lake."),
    SystemColumn("loaded_at", INSTANT, "When the load ran."),
)
SYSTEM_COLUMNS = (*HISTORY_COLUMNS, *LINEAGE_COLUMNS)
TENANT_COLUMN = SystemColumn(
    "tenant_id",
    "LowCardinality(String)",
    "The tenant that owns the row; from the file's prefix, never from its content.",
)


def _aliases(names: str) -> tuple[Alias, ...]:
    return tuple(Alias(name) for name in names.split())


def _key(name: str, doc: str) -> Column:
    return Column(name, Kind.TEXT, doc, _aliases("id"), required=True)


def _text(name: str, doc: str, aliases: str = "") -> Column:
    return Column(name, Kind.TEXT, doc, _aliases(aliases))


def _category(name: str, doc: str) -> Column:
    return Column(name, Kind.CATEGORY, doc)


def _instant(name: str, doc: str, aliases: str = "") -> Column:
    return Column(name, Kind.INSTANT, doc, _aliases(aliases))


def _updated_at() -> Column:
    return _instant("updated_at", "When it was last changed in the source system.", "last_updated")


COMPANIES = Table(
    name="companies",
    key="company_id",
    changed_at="updated_at",
    doc="Customers and prospects of the MSP.",
    columns=(
        _key("company_id", "Identifies the company in the source system."),
        _text("name", "Name.", "company_name"),
        _text("company_identifier", "Short name used in the source system."),
        _text("domain", "Internet domain."),
        _text("website", "Web address."),
        _category("industry", "Industry."),
        _category("size_category", "Size class, such as Small."),
        _category("company_type", "Relationship, such as Customer or Prospect."),
        _category("status", "Status in the source system."),
        Column("is_active", Kind.BOOL, "Whether it is an active company."),
        _text("address_line1", "Address, first line."),
        _text("address_line2", "Address, second line."),
        _category("city", "City."),
        _category("state", "State or region."),
        _category("zip", "Postal code."),
        _category("country", "Country."),
        _text("phone_number", "Phone."),
        _category("territory_name", "Sales territory."),
        Column("number_of_employees", Kind.COUNT, "Employees."),
        Column("annual_revenue", Kind.MONEY, "Annual revenue, in the tenant's currency."),
        _instant("created_at", "When the company was created.", "created_date date_acquired"),
        _updated_at(),
        _category("last_updated_by", "The user who last changed it."),
    ),
)

CONTACTS = Table(
    name="contacts",
    key="contact_id",
    changed_at="updated_at",
    doc="People at these companies.",
    columns=(
        _key("contact_id", "Identifies the contact in the source system."),
        _text("company_id", "The company the contact belongs to."),
        _text("company_name", "Name of the company."),
        _text("first_name", "Given name."),
        _text("last_name", "Family name."),
        _category("title", "Job title."),
        _category("department", "Department."),
        _text("email", "Email address.", "default_email_address"),
        _text("phone_number", "Phone.", "default_phone_number"),
        _category("city", "City."),
        _category("state", "State or region."),
        _category("country", "Country."),
        Column(
            "is_active",
            Kind.BOOL,
            "Whether the contact is active.",
            (Alias("inactive_flag", negated=True),),
        ),
        _instant("created_at", "When the contact was created."),
        _updated_at(),
    ),
)

TICKETS = Table(
    name="tickets",
    key="ticket_id",
    changed_at="updated_at",
    doc="Service requests and incidents.",
    columns=(
        _key("ticket_id", "Identifies the ticket in the source system."),
        _text("ticket_number", "Number shown to users."),
        _text("summary", "One-line summary."),
        _text("description", "Full text."),
        _category("status", "Status in the source system."),
        _category("priority", "Priority."),
        _category("severity", "Severity."),
        _category("impact", "Impact."),
        _category("urgency", "Urgency."),
        _text("company_id", "The company it is for."),
        _text("company_name", "Name of the company."),
        _text("contact_id", "The contact who requested it."),
        _text("contact_name", "Name of the contact."),
        _category("board_name", "Service board."),
        _category("type_name", "Type."),
        _category("subtype_name", "Subtype."),
        _category("item_name", "Item."),
        _category("team_name", "Team."),
        _category("owner_id", "The technician who owns it."),
        _category("owner_name", "Name of the owner."),
        _category("created_by", "The user who created it."),
        _instant("created_date", "When it was opened."),
        _instant("required_date", "When it is due."),
        _instant("first_response_date", "When the first response was sent."),
        _instant("closed_date", "When it was closed."),
        _category("closed_by", "The user who closed it."),
        Column("budget_hours", Kind.HOURS, "Planned hours."),
        Column("actual_hours", Kind.HOURS, "Hours spent."),
        Column("approved", Kind.BOOL, "Whether the work is approved."),
        _updated_at(),
        _category("last_updated_by", "The user who last changed it."),
    ),
)

TIME_ENTRIES = Table(
    name="time_entries",
    key="entry_id",
    changed_at="updated_at",
    doc="Hours that technicians recorded.",
    columns=(
        _key("entry_id", "Identifies the entry in the source system."),
        _text("company_id", "The company it is for."),
        _text("company_name", "Name of the company."),
        Column(
            "ticket_id",
            Kind.TEXT,
            "The ticket it is for, if any.",
            (Alias("charge_to_id", only_when=("charge_to_type", ("serviceticket",))),),
        ),
        _category("charge_to_type", "What it is charged to, such as ServiceTicket."),
        _category("member_id", "The technician."),
        _category("member_name", "Name of the technician."),
        _category("work_type_name", "Work type."),
        _category("work_role_name", "Work role."),
        _category("agreement_name", "Agreement it is charged to."),
        _category("billable_option", "Billing option, such as Billable."),
        _instant("time_start", "Start of the work."),
        _instant("time_end", "End of the work."),
        Column("actual_hours", Kind.HOURS, "Hours worked."),
        Column("hours_deduct", Kind.HOURS, "Hours deducted."),
        _text("notes", "What was done."),
        _instant("date_entered", "When it was recorded."),
        _category("entered_by", "The user who recorded it."),
        _updated_at(),
    ),
)

TABLES: dict[str, Table] = {
    table.name: table for table in (COMPANIES, CONTACTS, TICKETS, TIME_ENTRIES)
}


@dataclass(frozen=True)
class LogTable:
    """A table about the loads of all tenants, written by loads and read by key."""

    name: str
    columns: tuple[SystemColumn, ...]
    order_by: tuple[str, ...]
    doc: str


REPAIR, PUBLISHING = "repair", "publishing"  # kinds in the load log besides finished loads

LOAD_LOG = LogTable(
    name="load_log",
    doc="One row for every published load and repair: the source of the freshness on pages.",
    order_by=("tenant_id", "table_name", "load_id"),
    columns=(
        TENANT_COLUMN,
        SystemColumn("table_name", "LowCardinality(String)", "The entity, such as tickets."),
        SystemColumn("load_id", "UInt64", "The load job."),
        SystemColumn(
            "kind",
            "LowCardinality(String)",
            "bulk, incremental, refresh or repair; publishing while it publishes its rows.",
        ),
        SystemColumn("finished_at", INSTANT, "When its rows became visible."),
        SystemColumn("files", "UInt64", "Files read."),
        SystemColumn("rows_loaded", "UInt64", "Rows loaded."),
        SystemColumn("rows_rejected", "UInt64", "Rows rejected."),
        SystemColumn("newest_file", "String", "bucket/key of its newest file."),
        SystemColumn("newest_file_time", INSTANT, "When that file was last modified."),
    ),
)

LOAD_REJECTS = LogTable(
    name="load_rejects",
    doc="One row for every value that caused a row to be rejected.",
    order_by=(
        "tenant_id",
        "table_name",
        "load_id",
        "attempt",
        "source_file",
        "source_row",
        "column_name",
    ),
    columns=(
        TENANT_COLUMN,
        SystemColumn("table_name", "LowCardinality(String)", "The entity, such as tickets."),
        SystemColumn("load_id", "UInt64", "The load job."),
        SystemColumn("attempt", "UInt32", "Attempt of the job, from 1."),
        SystemColumn("source_file", "LowCardinality(String)", "bucket/key of the file."),
        SystemColumn("source_row", "UInt64", "Row in the file, from 1, without the header."),
        SystemColumn("row_key", "String", "The row's business key, if readable."),
        SystemColumn("column_name", "LowCardinality(String)", "The column, as named in the file."),
        SystemColumn("value", "String", "The value in the file, at most 1,000 characters."),
        SystemColumn("reason", "LowCardinality(String)", "Why it cannot be loaded."),
        SystemColumn("rejected_at", INSTANT, "When it was rejected."),
    ),
)

LOG_TABLES = (LOAD_LOG, LOAD_REJECTS)
