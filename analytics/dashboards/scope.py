"""The scope of a page: its tenant, period, as-of date and filters, as in its URL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast

from django.utils import timezone

from analytics import periods
from analytics.metrics import DIMENSIONS
from analytics.metrics.differences import Moment
from analytics.metrics.dimensions import EXCLUDED, write_value
from analytics.periods import Comparison, Period, PeriodError
from tenants.models import Tenant

MAX_FILTER_CHARACTERS = 300
MAX_FILTER_VALUES = 100


@dataclass(frozen=True)
class Scope:
    """`chosen` is the name of the period's preset, "" for custom dates. `filters` are written as in
    addresses: {dimension, or dimension! if its values are excluded: values}.
    """

    tenant: Tenant
    period: Period
    chosen: str
    as_of: datetime | None
    filters: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of_query(cls, tenant: Tenant, query: Mapping[str, Any]) -> "Scope":
        """From period or start and end, as_of, and the parameters of filters. Raises PeriodError.

        Values of dimensions may be lists, as in a QueryDict.
        """
        now = timezone.now()
        as_of = periods.as_of_from_query(query, tenant.zone, now)
        # With an as-of date, "30 days" means the 30 days up to that date.
        period, chosen = periods.from_query(query, tenant.zone, as_of or now)
        return cls(tenant, period, chosen, as_of, filters_in(query))

    @classmethod
    def default(cls, tenant: Tenant) -> "Scope":
        period, chosen = periods.from_query({}, tenant.zone, timezone.now())
        return cls(tenant, period, chosen, None)

    def only(self, dimension: str, value: str) -> "Scope":
        """The same scope for one value of a dimension."""
        return replace(self, filters=self.filters | {dimension: (write_value(value),)})

    def without(self, dimension: str) -> "Scope":
        """The same scope for all values of a dimension."""
        names = (dimension, f"{dimension}{EXCLUDED}")
        return replace(self, filters={n: v for n, v in self.filters.items() if n not in names})

    def within(self, days: Period) -> "Scope":
        """The same scope for some of its days."""
        return replace(self, period=replace(self.period, start=days.start, end=days.end), chosen="")

    @property
    def query(self) -> dict[str, str | tuple[str, ...]]:
        """The URL parameters of this scope, for urlencode with doseq."""
        when = (
            {"period": self.chosen}
            if self.chosen
            else {"start": f"{self.period.start}", "end": f"{self.period.last_day}"}
        )
        more = {}
        if self.period.compared_with is not Comparison.BEFORE:
            more["compare"] = self.period.compared_with.value
        if self.as_of is not None:
            more["as_of"] = f"{self.as_of.astimezone(self.tenant.zone).date()}"
        return when | more | self.filters


@dataclass(frozen=True)
class Moments:
    """Two moments of one period and filters. `before` is never later than `after`."""

    tenant: Tenant
    period: Period
    filters: dict[str, tuple[str, ...]]
    before: Moment
    after: Moment

    @classmethod
    def of_query(cls, tenant: Tenant, query: Mapping[str, Any]) -> "Moments":
        """From `before` and `as_of` (a day or an instant; now), `loaded_by`, which belongs to
        `before`, the period and the filters. Raises PeriodError.
        """
        now = timezone.now()
        found = {
            name: periods.parse_instant(query[name], name, tenant.zone)
            for name in ("before", "as_of", "loaded_by")
            if query.get(name)
        }
        before, as_of = found.get("before"), found.get("as_of")
        if as_of is not None and as_of >= now:
            as_of = None
        if before is None or before >= now:
            raise PeriodError("before", "Use the date of an earlier figure.")
        if as_of is not None and before > as_of:
            raise PeriodError("before", "Use a date before the one that it is compared with.")
        period, _ = periods.from_query(query, tenant.zone, as_of or now)
        moments = Moment(before, found.get("loaded_by")), Moment(as_of)
        return cls(tenant, period, filters_in(query), *moments)


def filters_in(query: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The filters among the parameters of an address. Raises PeriodError."""
    found = {}
    for dimension in DIMENSIONS:
        for name in (dimension, f"{dimension}{EXCLUDED}"):
            values = tuple(filter(None, _values(query, name)))
            if any(len(value) > MAX_FILTER_CHARACTERS or "\0" in value for value in values):
                raise PeriodError(name, "This is not a valid value.")
            if len(values) > MAX_FILTER_VALUES:
                raise PeriodError(name, f"Use at most {MAX_FILTER_VALUES} values.")
            if values:
                found[name] = values
    return found


def _values(query: Mapping[str, Any], name: str) -> Sequence[str]:
    if hasattr(query, "getlist"):
        return cast("Sequence[str]", query.getlist(name))
    value = query.get(name) or ()
    return (value,) if isinstance(value, str) else value
