"""Every metric, declared once. A new one is a declaration here and its `.sql` file."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

STATEMENTS = Path(__file__).parent


@dataclass(frozen=True)
class Metric:
    """A named figure. `description` is its definition as users read it; `tables` are what it
    rests on. The statement `<name>.sql` may use the parameters that `run.parameters` lists.
    """

    name: str
    title: str
    unit: str
    description: str
    tables: tuple[str, ...]

    @cached_property
    def sql(self) -> str:
        return (STATEMENTS / f"{self.name}.sql").read_text()


COMPANY_ANALYTICS = Metric(
    name="company_analytics",
    title="Companies",
    unit="companies, employees, revenue",
    description=(
        "Counts the companies whose record was valid at some time within the period, each once, "
        "as its last version within the period describes it. Active companies are those that the "
        "source system marks active. Average employees is the mean over the companies whose "
        "number of employees is known, rounded half up to 2 decimals. Total revenue is the exact "
        "sum of their annual revenue, in your currency; companies without a figure add nothing."
    ),
    tables=("companies",),
)

COMPANY_GROWTH = Metric(
    name="company_growth",
    title="Company growth",
    unit="companies",
    description=(
        "Companies whose record was valid at the end of each day, and how many of them were "
        "marked active. Periods longer than 31 days are drawn by week (ending on Sunday), those "
        "longer than 184 days by month; the last point is the end of the period."
    ),
    tables=("companies",),
)

TICKET_TRENDS = Metric(
    name="ticket_trends",
    title="Ticket trends",
    unit="tickets and hours per day",
    description=(
        "For every day in your time zone: tickets created on that day, tickets closed on it, and "
        "the mean of the actual hours of those closed, among tickets whose hours are known. The "
        "mean is computed exactly and rounded half up to 2 decimals; a day without closed tickets "
        "has none. Each ticket counts as its latest known version describes it. Charts of more "
        "than 31 days add the counts up by week, those of more than 184 by month; their tables "
        "have each day."
    ),
    tables=("tickets",),
)

METRICS: dict[str, Metric] = {
    metric.name: metric for metric in (COMPANY_ANALYTICS, COMPANY_GROWTH, TICKET_TRENDS)
}
