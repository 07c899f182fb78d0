"""The versions of one record in order, and which of them was valid at a given time."""

from bisect import bisect_right
from typing import Generic, TypeVar

from avesa_site.demo.sample_lake.rows import CompanyRow, ContactRow

R = TypeVar("R", CompanyRow, ContactRow)


class Life(Generic[R]):
    """Versions of one record, each later than the one before."""

    __slots__ = ("moments", "versions")

    def __init__(self, first: R) -> None:
        self.versions: list[R] = [first]
        self.moments: list[int] = [first.updated_at]

    @property
    def latest(self) -> R:
        return self.versions[-1]

    def add(self, version: R) -> None:
        if version.updated_at <= self.moments[-1]:
            raise ValueError("a version must be later than the one before it")
        self.versions.append(version)
        self.moments.append(version.updated_at)

    def at(self, moment: int) -> R:
        """Give the version valid then; before the first version, the first."""
        return self.versions[max(0, bisect_right(self.moments, moment) - 1)]

    def active_at(self, moment: int) -> bool:
        version = self.at(moment)
        return version.is_active and version.created_at <= moment
