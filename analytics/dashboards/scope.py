"""The scope of a page: its tenant, period, as-of date and filters, as in its URL."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.utils import timezone

from analytics import periods
from analytics.metrics import FILTERS
from analytics.periods import Period, PeriodError
from tenants.models import Tenant

MAX_FILTER_CHARACTERS = 300


@dataclass(frozen=True)
class Scope:
    """`chosen` is the name of the period's preset, "" for custom dates."""

    tenant: Tenant
    period: Period
    chosen: str
    as_of: datetime | None
    filters: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_query(cls, tenant: Tenant, query: Mapping[str, str]) -> "Scope":
        """From period or start and end, as_of, and one parameter per filter. Raises PeriodError."""
        now = timezone.now()
        as_of = periods.as_of_from_query(query, tenant.zone, now)
        # With an as-of date, "30 days" means the 30 days up to that date.
        period, chosen = periods.from_query(query, tenant.zone, as_of or now)
        filters = {name: value for name in FILTERS if (value := query.get(name, ""))}
        for name, value in filters.items():
            if len(value) > MAX_FILTER_CHARACTERS or "\0" in value:
                raise PeriodError(name, "This is not a valid value.")
        return cls(tenant, period, chosen, as_of, filters)

    @classmethod
    def default(cls, tenant: Tenant) -> "Scope":
        period, chosen = periods.from_query({}, tenant.zone, timezone.now())
        return cls(tenant, period, chosen, None)

    @property
    def query(self) -> dict[str, str]:
        """The URL parameters of this scope."""
        when = (
            {"period": self.chosen}
            if self.chosen
            else {"start": f"{self.period.start}", "end": f"{self.period.last_day}"}
        )
        as_of = {}
        if self.as_of is not None:
            as_of["as_of"] = f"{self.as_of.astimezone(self.tenant.zone).date()}"
        return when | as_of | self.filters
