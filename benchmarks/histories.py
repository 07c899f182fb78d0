"""Realistic histories for benchmarks, inserted straight into the warehouse, with their load log.

Four versions for each ticket (opened, assigned, answered, closed), ids that rise with time over two
years, three time entries for each ticket, and companies that changed once.
"""

from datetime import UTC, datetime, timedelta

COMPANIES = 500
_SECONDS = 2 * 365 * 86_400
_TABLES = ("tickets", "time_entries", "companies", "contacts")
_FOREVER = "toDateTime64('2999-12-31 23:59:59', 3, 'UTC')"


def fill(tenant, tickets):
    """Insert the history of a tenant with so many tickets."""
    from analytics.warehouse.client import WarehouseClient

    warehouse = WarehouseClient()
    for statement in (_tickets(tickets), _entries(tickets), _companies(), _contacts()):
        warehouse.run(statement.format(tenant=tenant))
    for table in _TABLES:
        warehouse.run(f"OPTIMIZE TABLE shared_{table} PARTITION '{tenant}' FINAL")
    now = datetime.now(UTC)
    for table in _TABLES:
        row = {
            "tenant_id": tenant,
            "table_name": table,
            "load_id": 1,
            "kind": "bulk",
            "finished_at": now,
            "newest_file": "bench/a.parquet",
            "newest_file_time": now - timedelta(hours=1),
        }
        warehouse.insert("load_log", list(row), [[value] for value in row.values()])


def _began(number, tickets):
    """When ticket `number` of `tickets` was opened."""
    return f"now64(3) - toIntervalSecond(toInt64({_SECONDS} - {number} * {_SECONDS} / {tickets}))"


def _name(word, salt, values):
    return f"concat('{word} ', toString(cityHash64(n, {salt}) % {values}))"


def _tickets(tickets):
    return f"""
INSERT INTO shared_tickets (tenant_id, ticket_id, ticket_number, summary, status, priority,
    board_name, team_name, type_name, subtype_name, owner_id, owner_name, company_id, company_name,
    created_date, first_response_date, closed_date, actual_hours, updated_at,
    effective_date, expiry_date, is_current, load_id)
SELECT '{{tenant}}', leftPad(toString(n), 8, '0'), toString(n),
    concat('Printer ', toString(n % 977)),
    multiIf(v = 1, 'New', v = 2, 'Assigned', v = 3, 'In progress', is_open, 'Waiting', 'Closed'),
    {_name("Priority", 1, 4)}, {_name("Board", 2, 6)}, {_name("Team", 3, 5)},
    {_name("Type", 4, 5)}, {_name("Subtype", 5, 23)},
    if(v = 1, NULL, toString(cityHash64(n, 6) % 40)), if(v = 1, NULL, {_name("Technician", 6, 40)}),
    toString(cityHash64(n, 7) % {COMPANIES}), {_name("Company", 7, COMPANIES)},
    opened, if(v >= 3, answered, NULL), if(v = 4 AND NOT is_open, closed, NULL),
    if(v = 4, n % 800 / 100, NULL), begins[v], begins[v], if(v = 4, {_FOREVER}, begins[v + 1]),
    v = 4, 1
FROM
(
    SELECT number AS n, number % 25 = 0 AND number > {tickets} / 2 AS is_open,
        {_began("number", tickets)} - toIntervalSecond(cityHash64(number, 9) % 3600) AS opened,
        opened + toIntervalSecond(600 + cityHash64(number, 10) % 9000) AS answered,
        answered + toIntervalSecond(600 + cityHash64(number, 11) % 400000) AS closed,
        [opened, opened + toIntervalSecond(300), answered, closed] AS begins
    FROM numbers({tickets})
)
ARRAY JOIN [1, 2, 3, 4] AS v
WHERE begins[v] <= now64(3)"""


def _entries(tickets):
    return f"""
INSERT INTO shared_time_entries (tenant_id, entry_id, ticket_id, company_id, company_name,
    member_id, member_name, work_type_name, billable_option, time_start, time_end, date_entered,
    actual_hours, effective_date, is_current, load_id)
SELECT '{{tenant}}', leftPad(toString(number), 8, '0'), leftPad(toString(n), 8, '0'),
    toString(cityHash64(n, 7) % {COMPANIES}), {_name("Company", 7, COMPANIES)},
    toString(cityHash64(number, 1) % 40),
    concat('Technician ', toString(cityHash64(number, 1) % 40)),
    concat('Work ', toString(cityHash64(number, 2) % 7)),
    if(number % 3 = 0, 'Billable', 'DoNotBill'), began, began + 3600, began + 4000,
    number % 16 / 4, began + 4000, true, 1
FROM
(
    SELECT number, intDiv(number, 3) AS n,
        {_began("intDiv(number, 3)", tickets)} + toIntervalSecond(cityHash64(number, 8) % 200000)
            AS began
    FROM numbers({tickets * 3})
)
WHERE began < now64(3)"""


def _companies():
    return f"""
INSERT INTO shared_companies (tenant_id, company_id, name, company_type, is_active,
    number_of_employees, annual_revenue, created_at, effective_date, expiry_date, is_current,
    load_id)
SELECT '{{tenant}}', toString(number), concat('Company ', toString(number)),
    concat('Segment ', toString(number % 4)), v = 1 OR number % 5 > 0, number + v, number * 1000,
    founded, if(v = 1, founded, moved), if(v = 1, moved, {_FOREVER}), v = 2, 1
FROM
(
    SELECT number, toDateTime64('2020-01-01', 3, 'UTC') AS founded,
        now64(3) - toIntervalSecond(cityHash64(number, 1) % {_SECONDS}) AS moved
    FROM numbers({COMPANIES})
)
ARRAY JOIN [1, 2] AS v"""


def _contacts():
    return f"""
INSERT INTO shared_contacts (tenant_id, contact_id, company_id, is_active, effective_date,
    is_current, load_id)
SELECT '{{tenant}}', toString(number), toString(number % {COMPANIES}), number % 7 > 0,
    toDateTime64('2020-01-01', 3, 'UTC'), true, 1
FROM numbers({COMPANIES * 8})"""
