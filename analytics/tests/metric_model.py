"""A second implementation of every metric, in plain Python over the versions in the files.

It shares no code with the product. Each metric is a function of the stored versions, (row, valid
from, valid until), and of the tenant's time zone. `at` is the instant of a state.
"""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise

HOUR = timedelta(hours=1)
MS = timedelta(milliseconds=1)
FOREVER = datetime(2999, 1, 1, tzinfo=UTC)


class Model:
    """One tenant's versions by table, known by `as_of`, and the tenant's targets."""

    def __init__(self, versions, zone, as_of, targets, opens=8, closes=18, capacity=Decimal(8)):
        self.versions = {
            table: [version for version in found if version[1] <= as_of]
            for table, found in versions.items()
        }
        self.zone, self.as_of, self.targets = zone, as_of, targets
        self.opens, self.closes, self.capacity = opens, closes, capacity
        self.events = {}

    def valid(self, table, at):
        return [row for row, start, end in self.versions[table] if start <= at < end]

    def now(self, table):
        return self.valid(table, self.as_of)

    def closed(self):
        """(ticket version at closing, closing date)."""
        closed_now = {(t["ticket_id"], t["closed_date"]) for t in self.now("tickets")}
        first = {}
        for row, start, _ in self.versions["tickets"]:
            key = row["ticket_id"], row["closed_date"]
            if row["closed_date"] and key in closed_now and start < first.get(key, (FOREVER,))[0]:
                first[key] = (start, row)
        return [(row, row["closed_date"]) for _, row in first.values()]

    def day(self, instant):
        return instant.astimezone(self.zone).date()

    def names(self):
        return {c["company_id"]: c["name"] for c in self.now("companies")}


def ms(later, earlier):
    return (later - earlier) // MS


def nearest_rank(values, tenths):
    values = sorted(values)
    return values[-(-len(values) * tenths // 10) - 1] if values else None


def rounded(value, places):
    return value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


# --- Aggregates of facts: (value, part, whole)


def count(facts):
    return len(facts)


def total(facts):
    return sum((fact[0] for fact in facts if fact[0] is not None), 0)


def share(factor, places):
    def aggregate(facts):
        whole = Decimal(sum(fact[2] for fact in facts))
        part = Decimal(sum(fact[1] for fact in facts))
        return rounded(part * factor / whole, places) if whole else None

    return aggregate


def hours(tenths):
    def aggregate(facts):
        value = nearest_rank([fact[0] for fact in facts], tenths)
        return None if value is None else rounded(Decimal(value) / 3_600_000, 2)

    return aggregate


percent, ratio = share(100, 1), share(1, 2)


# --- Facts of events: (at, row, value, part, whole). Of states: the same for one instant.


def opened(m):
    return [(t["created_date"], t, 1, 0, 1) for t in m.now("tickets")]


def closings(m):
    return [(at, t, -1, 1, 0) for t, at in m.closed()]


def responses(m):
    return [
        (t["first_response_date"], t, ms(t["first_response_date"], t["created_date"]), 0, 0)
        for t in m.now("tickets")
        if t["first_response_date"]
    ]


def resolutions(m):
    return [(at, t, ms(at, t["created_date"]), 0, 0) for t, at in m.closed()]


def same_day(m):
    return [(at, t, 0, m.day(at) == m.day(t["created_date"]), 1) for t, at in m.closed()]


def reopenings(m):
    by_ticket = defaultdict(list)
    for row, start, end in m.versions["tickets"]:
        by_ticket[row["ticket_id"]].append((start, end, row))
    facts = []
    for found in by_ticket.values():
        found.sort(key=lambda version: version[0])
        for before, after in pairwise(found):
            if before[2]["closed_date"] and not after[2]["closed_date"] and before[1] == after[0]:
                facts.append((after[0], after[2], 1, 0, 0))
    return facts


def sla(m):
    facts = []
    for t, at in m.closed():
        if t["priority"] in m.targets:
            response, resolution = m.targets[t["priority"]]
            answered = (t["first_response_date"] or at) - t["created_date"] <= response * HOUR
            met = answered and at - t["created_date"] <= resolution * HOUR
            facts.append((at, t, 0, met, 1))
    return facts


def effort(m):
    return [
        (at, t, 0, t["actual_hours"], 1) for t, at in m.closed() if t["actual_hours"] is not None
    ]


def budget(m):
    return [
        (at, t, 0, t["actual_hours"] or 0, t["budget_hours"])
        for t, at in m.closed()
        if t["budget_hours"]
    ]


def entries(only=lambda m, e: True):
    def facts(m):
        return [
            (e["time_start"], e, e["actual_hours"], 0, 0)
            for e in m.now("time_entries")
            if only(m, e)
        ]

    return facts


def is_billable(m, entry):
    return entry["billable_option"] == "Billable"


def is_after_hours(m, entry):
    local = entry["time_start"].astimezone(m.zone)
    return local.weekday() >= 5 or not m.opens <= local.hour < m.closes


def utilization(m):
    found = m.now("time_entries")
    facts = [(e["time_start"], e, 0, e["actual_hours"], 0) for e in found if is_billable(m, e)]
    days = {
        (e["member_id"], e["member_name"], m.day(e["time_start"])): (e["time_start"], e)
        for e in found
    }
    return facts + [(at, e, 0, 0, m.capacity) for at, e in days.values()]


def lag(m):
    return [
        (e["date_entered"], e, ms(e["date_entered"], e["time_end"]), 0, 0)
        for e in m.now("time_entries")
    ]


def new_companies(m):
    return [(c["created_at"], c, 1, 0, 0) for c in m.now("companies")]


def lost_companies(m):
    active = {(c["company_id"], start) for c, start, _ in m.versions["companies"] if c["is_active"]}
    return [
        (end, c, 1, 0, 0)
        for c, _, end in m.versions["companies"]
        if c["is_active"] and end <= m.as_of and (c["company_id"], end) not in active
    ]


def open_tickets(only=lambda t: True):
    def facts(m, at):
        return [
            (at, t, 1, 0, 0) for t in m.valid("tickets", at) if not t["closed_date"] and only(t)
        ]

    return facts


def valid_companies(only=lambda c: True, value=lambda c: 1):
    def facts(m, at):
        return [(at, c, value(c), 0, 0) for c in m.valid("companies", at) if only(c)]

    return facts


def is_active(row):
    return row["is_active"] is True


def contacts(m, at):
    people = [(at, c, 0, 1, 0) for c in m.valid("contacts", at) if is_active(c)]
    return people + [(at, c, 0, 0, 1) for c in m.valid("companies", at) if is_active(c)]


# --- Dimensions: the value of a fact as text, "" if its row has none


def of(*columns):
    """The value of the first of the columns that the row has."""

    def value(m, row, at):
        return next((row[name] for name in columns if name in row), None) or ""

    return value


def category(m, row, at):
    return " / ".join(filter(None, [row["type_name"], row["subtype_name"]]))


def age(m, ticket, at):
    days = (at - ticket["created_date"]) / timedelta(days=1)
    bounds = (1, "Under 1 day"), (7, "1 to 7 days"), (30, "7 to 30 days"), (90, "30 to 90 days")
    return next((name for bound, name in bounds if days < bound), "90 days and more")


DIMENSIONS = {
    "company": lambda m, row, at: row["company_id"] or row.get("company_name") or "",
    "contact": of("contact_name"),
    "board": of("board_name"),
    "priority": of("priority"),
    "severity": of("severity"),
    "impact": of("impact"),
    "urgency": of("urgency"),
    "status": of("status"),
    "category": category,
    "type": of("type_name"),
    "subtype": of("subtype_name"),
    "item": of("item_name"),
    "team": of("team_name"),
    "technician": of("owner_name", "member_name"),
    "age": age,
    "work_type": of("work_type_name"),
    "work_role": of("work_role_name"),
    "agreement": of("agreement_name"),
    "billable": of("billable_option"),
    "charged_to": of("charge_to_type"),
    "segment": of("company_type"),
    "industry": of("industry"),
    "size": of("size_category"),
    "territory": of("territory_name"),
    "country": of("country"),
    "department": of("department"),
    "weekday": lambda m, row, at: f"{at.astimezone(m.zone).isoweekday()}",
    "hour": lambda m, row, at: f"{at.astimezone(m.zone).hour}",
}


EVENTS = {
    "tickets_opened": (opened, count),
    "tickets_closed": (closings, count),
    "tickets_net": (lambda m: opened(m) + closings(m), total),
    "close_rate": (lambda m: opened(m) + closings(m), percent),
    "first_response_median": (responses, hours(5)),
    "first_response_p90": (responses, hours(9)),
    "resolution_median": (resolutions, hours(5)),
    "resolution_p90": (resolutions, hours(9)),
    "same_day_rate": (same_day, percent),
    "reopened": (reopenings, count),
    "tickets_by_company": (opened, count),
    "tickets_by_category": (opened, count),
    "sla_met": (sla, percent),
    "hours_per_ticket": (effort, ratio),
    "budget_used": (budget, percent),
    "leader_board": (closings, count),
    "hours_worked": (entries(), total),
    "hours_by_technician": (entries(), total),
    "hours_by_company": (entries(), total),
    "billable_hours": (entries(only=is_billable), total),
    "utilization": (utilization, percent),
    "nonbillable_by_work_type": (
        entries(only=lambda m, e: not is_billable(m, e)),
        total,
    ),
    "after_hours": (entries(only=is_after_hours), total),
    "time_entry_lag": (lag, hours(5)),
    "companies_new": (new_companies, count),
    "companies_lost": (lost_companies, count),
}
STATES = {
    "backlog": (open_tickets(), count),
    "backlog_by_age": (open_tickets(), count),
    "backlog_by_priority": (open_tickets(), count),
    "backlog_by_board": (open_tickets(), count),
    "unassigned": (open_tickets(only=lambda t: not t["owner_id"] and not t["owner_name"]), count),
    "companies_total": (valid_companies(), count),
    "companies_active": (valid_companies(is_active), count),
    "revenue_by_segment": (
        valid_companies(is_active, lambda c: c["annual_revenue"]),
        total,
    ),
    "employees_by_segment": (
        valid_companies(is_active, lambda c: c["number_of_employees"]),
        total,
    ),
    "contacts_per_company": (contacts, ratio),
}


def facts_of(model, name, starts, ends, filters=()):
    """The facts of [starts, ends), or of a state at its last known moment.

    `filters` are (dimension, values, is_excluding).
    """
    if name in STATES:
        facts = STATES[name][0](model, min(ends - MS, model.as_of))
    else:
        if name not in model.events:
            model.events[name] = EVENTS[name][0](model)
        facts = [fact for fact in model.events[name] if starts <= fact[0] < ends]
    for dimension, values, is_excluding in filters:
        value = DIMENSIONS[dimension]
        facts = [f for f in facts if (value(model, f[1], f[0]) in values) is not is_excluding]
    return facts


def figure(model, name, starts, ends, filters=()):
    """The metric over [starts, ends)."""
    facts = facts_of(model, name, starts, ends, filters)
    return aggregate_of(name)([fact[2:] for fact in facts])


def parts(model, name, starts, ends, by, filters=()):
    """{values of the dimensions: figure}."""
    by_values = defaultdict(list)
    for at, row, *numbers in facts_of(model, name, starts, ends, filters):
        values = tuple(DIMENSIONS[dimension](model, row, at) for dimension in by)
        by_values[values].append(tuple(numbers))
    return {values: aggregate_of(name)(facts) for values, facts in by_values.items()}


def figure_of_others(model, name, starts, ends, by, shown, filters=()):
    """The metric over the facts whose values of the dimensions are not among those shown."""
    facts = [
        numbers
        for at, row, *numbers in facts_of(model, name, starts, ends, filters)
        if tuple(DIMENSIONS[dimension](model, row, at) for dimension in by) not in shown
    ]
    return aggregate_of(name)(facts)


def aggregate_of(name):
    return (STATES if name in STATES else EVENTS)[name][1]
