"""What has a page of its own figures: a company, a technician, a board, a contact.

A subject is a value of a dimension. Its page is a board of tiles, all filtered by that value, and
lists of the records that belong to it.
"""

from dataclasses import dataclass

from analytics.dashboards.boards import Dashboard, chart, figure, parts
from analytics.warehouse.catalog import COMPANIES, CONTACTS, TICKETS, TIME_ENTRIES, Table

MAX_CHARACTERS = 200  # of the id or name that a page is about


@dataclass(frozen=True)
class Subject:
    """`slug` names the route, `kind` the subject for people. `record` is the table with its record:
    the page is found by its id, else by a name. `lists` are (table, column with the id or name).
    """

    slug: str
    kind: str
    dimension: str
    board: Dashboard
    lists: tuple[tuple[Table, str], ...]
    record: Table | None = None

    def can_be_about(self, value: str) -> bool:
        """Whether a value of the dimension has a page: contacts are found by id, not by name."""
        return self.record is not CONTACTS and 0 < len(value) <= MAX_CHARACTERS


COMPANY = Subject(
    "company",
    "Company",
    "company",
    Dashboard(
        "company",
        "Company",
        (
            figure("tickets_opened"),
            figure("backlog"),
            figure("sla_met"),
            figure("first_response_median"),
            figure("resolution_median"),
            figure("hours_worked"),
            figure("billable_hours"),
            figure("budget_used"),
            chart("tickets_opened", "tickets_closed", title="Tickets opened and closed"),
            chart("hours_worked", "billable_hours", title="Hours worked and billable"),
            parts("tickets_by_category", title="Top topics"),
            parts("hours_by_technician", title="Who worked for them"),
            parts("backlog_by_priority"),
            parts("tickets_opened", by="contact", title="Who asks"),
        ),
    ),
    ((TICKETS, "company_id"), (CONTACTS, "company_id")),
    record=COMPANIES,
)
PERSON = Subject(
    "person",
    "Technician",
    "technician",
    Dashboard(
        "person",
        "Technician",
        (
            figure("tickets_closed"),
            figure("backlog"),
            figure("sla_met"),
            figure("resolution_median"),
            figure("hours_worked"),
            figure("billable_hours"),
            figure("utilization"),
            figure("after_hours"),
            chart("tickets_opened", "tickets_closed", title="Tickets opened and closed"),
            chart("hours_worked", "billable_hours", title="Hours worked and billable"),
            parts("hours_by_company"),
            parts("tickets_closed", by="category", title="Tickets closed by category"),
            parts("backlog_by_priority"),
            parts("backlog_by_age"),
        ),
    ),
    ((TICKETS, "owner_name"), (TIME_ENTRIES, "member_name")),
)
BOARD = Subject(
    "service_board",
    "Board",
    "board",
    Dashboard(
        "service_board",
        "Board",
        (
            figure("tickets_opened"),
            figure("tickets_closed"),
            figure("backlog"),
            figure("unassigned"),
            figure("sla_met"),
            figure("first_response_median"),
            figure("resolution_median"),
            figure("reopened"),
            chart("tickets_opened", "tickets_closed", title="Tickets opened and closed"),
            chart("backlog"),
            parts("tickets_by_company"),
            parts("leader_board"),
            parts("tickets_by_category"),
            parts("backlog_by_priority"),
        ),
    ),
    ((TICKETS, "board_name"),),
)
CONTACT = Subject(
    "contact",
    "Contact",
    "contact",
    Dashboard(
        "contact",
        "Contact",
        (
            figure("tickets_opened"),
            figure("backlog"),
            figure("sla_met"),
            figure("resolution_median"),
            chart("tickets_opened", "tickets_closed", title="Tickets opened and closed"),
            parts("tickets_by_category", title="Top topics"),
        ),
    ),
    ((TICKETS, "contact_id"),),
    record=CONTACTS,
)

SUBJECTS = {each.slug: each for each in (COMPANY, PERSON, BOARD, CONTACT)}
SUBJECT_OF_DIMENSION = {each.dimension: each for each in SUBJECTS.values()}
SUBJECT_OF_TABLE = {each.record.name: each for each in SUBJECTS.values() if each.record}
