"""What a load found and did, as the job's record keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from loaders.lake.s3 import LakeObject


class LoadFailed(Exception):
    """The load cannot succeed as things are. Its text explains what to do."""


@dataclass(frozen=True)
class FileOutcome:
    """Rows of one file. `error` is why it was quarantined; it has no rows then.

    `rows_in_file` is counted in the file itself (footer, scan, lines), `rows_read` in what was
    staged and rejected; None of loads that did not count it yet. `is_refused` if it was quarantined
    because the lake refused to deliver it, which may pass.
    """

    rows_read: int = 0
    rows_rejected: int = 0
    error: str = ""
    rows_in_file: int | None = 0
    is_refused: bool = False

    @property
    def rows_loaded(self) -> int:
        return self.rows_read - self.rows_rejected


Outcomes = Mapping[LakeObject, FileOutcome]


@dataclass(frozen=True)
class VersionCounts:
    """What became of the rows that were loaded: each is counted in exactly one of `rows_...`.

    `keys_closed` and `keys_reopened` are what a full refresh did to keys that disappeared or
    came back.
    """

    rows_new: int = 0
    rows_changed: int = 0
    rows_late: int = 0
    rows_unchanged: int = 0
    rows_duplicate: int = 0
    keys_closed: int = 0
    keys_reopened: int = 0

    def __add__(self, other: "VersionCounts") -> "VersionCounts":
        names = [each.name for each in fields(self)]
        return VersionCounts(*(getattr(self, name) + getattr(other, name) for name in names))

    @property
    def rows_accounted(self) -> int:
        return (
            self.rows_new
            + self.rows_changed
            + self.rows_late
            + self.rows_unchanged
            + self.rows_duplicate
        )


@dataclass(frozen=True)
class LoadResult:
    """What a load has found and done so far. A finished load accounts for each row it loaded.

    `listing` is a digest of what the lake held for the table. `columns` holds the files' columns by
    format, `unknown_columns` those that the catalog does not know, `notes` what staff should know.
    `left_patches`: reads are slower until the partition is merged.
    """

    listing: str = ""
    files: Outcomes = field(default_factory=dict)
    versions: VersionCounts = VersionCounts()
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unknown_columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_patches: bool = False

    @property
    def rows_read(self) -> int:
        return sum(each.rows_read for each in self.files.values())

    @property
    def rows_rejected(self) -> int:
        return sum(each.rows_rejected for each in self.files.values())

    @property
    def rows_loaded(self) -> int:
        return self.rows_read - self.rows_rejected

    @property
    def quarantined(self) -> dict[LakeObject, str]:
        """Files that were left out, with the reason."""
        return {each: outcome.error for each, outcome in self.files.items() if outcome.error}

    @property
    def refusals(self) -> list[str]:
        """Why the lake did not deliver files that it holds."""
        return [each.error for each in self.files.values() if each.is_refused]
