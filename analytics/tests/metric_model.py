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


# --- Facts of events: (at, label, value, part, whole). Of states: the same for one instant.


def opened(m):
    return [(t["created_date"], "", 1, 0, 1) for t in m.now("tickets")]


def closings(m):
    return [(at, "", -1, 1, 0) for _, at in m.closed()]


def responses(m):
    return [
        (t["first_response_date"], "", ms(t["first_response_date"], t["created_date"]), 0, 0)
        for t in m.now("tickets")
        if t["first_response_date"]
    ]


def resolutions(m):
    return [(at, "", ms(at, t["created_date"]), 0, 0) for t, at in m.closed()]


def same_day(m):
    return [(at, "", 0, m.day(at) == m.day(t["created_date"]), 1) for t, at in m.closed()]


def reopenings(m):
    by_ticket = defaultdict(list)
    for row, start, end in m.versions["tickets"]:
        by_ticket[row["ticket_id"]].append((start, end, row["closed_date"]))
    facts = []
    for found in by_ticket.values():
        found.sort()
        for before, after in pairwise(found):
            if before[2] and not after[2] and before[1] == after[0]:
                facts.append((after[0], "", 1, 0, 0))
    return facts


def by_company(m):
    names = m.names()
    return [
        (t["created_date"], names.get(t["company_id"], t["company_name"]), 1, 0, 0)
        for t in m.now("tickets")
    ]


def by_category(m):
    return [
        (t["created_date"], " / ".join(filter(None, [t["type_name"], t["subtype_name"]])), 1, 0, 0)
        for t in m.now("tickets")
    ]


def sla(m):
    facts = []
    for t, at in m.closed():
        if t["priority"] in m.targets:
            response, resolution = m.targets[t["priority"]]
            answered = (t["first_response_date"] or at) - t["created_date"] <= response * HOUR
            met = answered and at - t["created_date"] <= resolution * HOUR
            facts.append((at, "", 0, met, 1))
    return facts


def effort(m):
    return [
        (at, "", 0, t["actual_hours"], 1) for t, at in m.closed() if t["actual_hours"] is not None
    ]


def leaders(m):
    return [(at, t["owner_name"] or "", 1, 0, 0) for t, at in m.closed()]


def entries(label=lambda m, e: "", only=lambda m, e: True):
    def facts(m):
        return [
            (e["time_start"], label(m, e) or "", e["actual_hours"], 0, 0)
            for e in m.now("time_entries")
            if only(m, e)
        ]

    return facts


def is_billable(m, entry):
    return entry["billable_option"] == "Billable"


def is_after_hours(m, entry):
    local = entry["time_start"].astimezone(m.zone)
    return local.weekday() >= 5 or not m.opens <= local.hour < m.closes


def entries_by_company(m):
    names = m.names()
    return [
        (
            e["time_start"],
            names.get(e["company_id"], e["company_name"]) or "",
            e["actual_hours"],
            0,
            0,
        )
        for e in m.now("time_entries")
    ]


def utilization(m):
    found = m.now("time_entries")
    facts = [(e["time_start"], "", 0, e["actual_hours"], 0) for e in found if is_billable(m, e)]
    days = {
        (e["member_id"], e["member_name"], m.day(e["time_start"])): e["time_start"] for e in found
    }
    return facts + [(at, "", 0, 0, m.capacity) for at in days.values()]


def lag(m):
    return [
        (e["date_entered"], "", ms(e["date_entered"], e["time_end"]), 0, 0)
        for e in m.now("time_entries")
    ]


def new_companies(m):
    return [(c["created_at"], "", 1, 0, 0) for c in m.now("companies")]


def lost_companies(m):
    active = {(c["company_id"], start) for c, start, _ in m.versions["companies"] if c["is_active"]}
    return [
        (end, "", 1, 0, 0)
        for c, _, end in m.versions["companies"]
        if c["is_active"] and end <= m.as_of and (c["company_id"], end) not in active
    ]


def open_tickets(label=lambda t, at: "", only=lambda t: True):
    def facts(m, at):
        return [
            (at, label(t, at) or "", 1, 0, 0)
            for t in m.valid("tickets", at)
            if not t["closed_date"] and only(t)
        ]

    return facts


def age(ticket, at):
    days = (at - ticket["created_date"]) / timedelta(days=1)
    bounds = (1, "Under 1 day"), (7, "1 to 7 days"), (30, "7 to 30 days"), (90, "30 to 90 days")
    return next((name for bound, name in bounds if days < bound), "90 days and more")


def valid_companies(only=lambda c: True, label="", value=lambda c: 1):
    def facts(m, at):
        return [
            (at, (c[label] or "") if label else "", value(c), 0, 0)
            for c in m.valid("companies", at)
            if only(c)
        ]

    return facts


def is_active(row):
    return row["is_active"] is True


def contacts(m, at):
    people = [(at, "", 0, 1, 0) for c in m.valid("contacts", at) if is_active(c)]
    return people + [(at, "", 0, 0, 1) for c in m.valid("companies", at) if is_active(c)]


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
    "tickets_by_company": (by_company, count),
    "tickets_by_category": (by_category, count),
    "sla_met": (sla, percent),
    "hours_per_ticket": (effort, ratio),
    "leader_board": (leaders, count),
    "hours_worked": (entries(), total),
    "hours_by_technician": (entries(label=lambda m, e: e["member_name"]), total),
    "hours_by_company": (entries_by_company, total),
    "billable_hours": (entries(only=is_billable), total),
    "utilization": (utilization, percent),
    "nonbillable_by_work_type": (
        entries(label=lambda m, e: e["work_type_name"], only=lambda m, e: not is_billable(m, e)),
        total,
    ),
    "after_hours": (entries(only=is_after_hours), total),
    "time_entry_lag": (lag, hours(5)),
    "companies_new": (new_companies, count),
    "companies_lost": (lost_companies, count),
}
STATES = {
    "backlog": (open_tickets(), count),
    "backlog_by_age": (open_tickets(label=age), count),
    "backlog_by_priority": (open_tickets(label=lambda t, at: t["priority"]), count),
    "backlog_by_board": (open_tickets(label=lambda t, at: t["board_name"]), count),
    "unassigned": (open_tickets(only=lambda t: not t["owner_id"] and not t["owner_name"]), count),
    "companies_total": (valid_companies(), count),
    "companies_active": (valid_companies(is_active), count),
    "revenue_by_segment": (
        valid_companies(is_active, "company_type", lambda c: c["annual_revenue"]),
        total,
    ),
    "employees_by_segment": (
        valid_companies(is_active, "company_type", lambda c: c["number_of_employees"]),
        total,
    ),
    "contacts_per_company": (contacts, ratio),
}


def facts_of(model, name, starts, ends):
    if name in STATES:
        return STATES[name][0](model, min(ends - MS, model.as_of))
    if name not in model.events:
        model.events[name] = EVENTS[name][0](model)
    return [fact for fact in model.events[name] if starts <= fact[0] < ends]


def figure(model, name, starts, ends):
    """The metric over [starts, ends), or for a state at its last known moment."""
    return aggregate_of(name)([fact[2:] for fact in facts_of(model, name, starts, ends)])


def parts(model, name, starts, ends):
    """{label: figure}."""
    by_label = defaultdict(list)
    for fact in facts_of(model, name, starts, ends):
        by_label[fact[1]].append(fact[2:])
    return {label: aggregate_of(name)(facts) for label, facts in by_label.items()}


def aggregate_of(name):
    return (STATES if name in STATES else EVENTS)[name][1]
