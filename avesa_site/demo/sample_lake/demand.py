"""When tickets come in: over the years, the week, the holidays and the hours of a day."""

from collections.abc import Iterator
from datetime import date, timedelta

from avesa_site.demo.sample_lake.clock import HOUR, Window, WorkCalendar, days_between, is_workday
from avesa_site.demo.sample_lake.dice import Dice, Weighted
from avesa_site.demo.sample_lake.tenants import SampleTenant

WEEKDAYS = (1.25, 1.10, 1.02, 1.00, 0.86, 0.09, 0.07)

# fmt: off
OFFICE_HOURS = Weighted(enumerate((
    0.2, 0.1, 0.1, 0.1, 0.2, 0.4, 1.0, 3.0,       # 00-07
    9.0, 13.0, 12.0, 9.5, 6.0, 8.5, 9.5, 8.5,     # 08-15
    6.5, 4.0, 1.4, 0.9, 0.6, 0.5, 0.4, 0.3,       # 16-23
)))
WEEKEND_HOURS = Weighted(enumerate((
    2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0,
    3.0, 4.0, 5.0, 5.0, 4.0, 4.0, 4.0, 4.0,
    3.0, 3.0, 3.0, 3.0, 3.0, 2.0, 2.0, 2.0,
)))
# fmt: on


class Demand:
    """How many tickets a day brings; ``total`` of them in the 24 months from the window's start."""

    def __init__(
        self, tenant: SampleTenant, window: Window, calendar: WorkCalendar, total: float
    ) -> None:
        self.tenant, self.calendar = tenant, calendar
        self.since = window.since
        normal_days = days_between(window.since, window.since + timedelta(days=730))
        self.unit = total / sum(self._weight(day) for day in normal_days)

    def expected(self, day: date) -> float:
        return self.unit * self._weight(day)

    def moments(self, day: date, dice: Dice, share: float = 1.0) -> Iterator[int]:
        """Give the moments at which the tickets of a local day are opened, in order."""
        # Now and then there is a major outage and half the customers call.
        outage = 2.1 if dice.chance(0.012) else 1.0
        hours = OFFICE_HOURS if is_workday(day) else WEEKEND_HOURS
        midnight = self.calendar.local_midnight(day)
        count = dice.poisson(self.expected(day) * share * outage)
        yield from sorted(
            midnight + hours.draw(dice) * HOUR + int(dice.random() * HOUR) for _ in range(count)
        )

    def _weight(self, day: date) -> float:
        trend = 1 + self.tenant.growth * (day - self.since).days / 730
        return WEEKDAYS[day.weekday()] * _season(day, self.tenant.region) * trend


def _season(day: date, region: str) -> float:
    if (day.month, day.day) in {(1, 1), (12, 25), (12, 26)}:
        return 0.10
    if (day.month, day.day) >= (12, 22) or (day.month, day.day) <= (1, 3):
        return 0.42
    summer = {1} if region == "au" else {7, 8}
    return 0.80 if day.month in summer else 1.0
