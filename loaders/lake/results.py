"""What a load found and did, as the job's record keeps it."""

from dataclasses import dataclass, field

from loaders.lake.s3 import LakeObject


class LoadFailed(Exception):
    """The load cannot succeed as things are. The text says what to do."""


@dataclass
class FileOutcome:
    """Rows of one file. `error` says why it was quarantined; it has no rows then.

    `rows_in_file` is counted in the file itself (footer, scan, lines), `rows_read` in what was
    staged and rejected; None of loads that did not count it yet. `is_refused` if it was quarantined
    because the lake did not give it out, which it may do tomorrow.
    """

    rows_read: int = 0
    rows_rejected: int = 0
    error: str = ""
    rows_in_file: int | None = 0
    is_refused: bool = False


@dataclass
class LoadResult:
    """What a load did, per file and in all. `listing` is a digest of what the lake held for it.

    rows_read = rows_loaded + rows_rejected, and rows_loaded is the sum of rows_new, rows_changed,
    rows_late, rows_unchanged and rows_duplicate. `keys_closed` and `keys_reopened` are what a full
    refresh did to keys that went or came back. `left_patches` says that reads will be slower until
    the partition is merged. `columns` holds the files' columns by format, `notes` what staff should
    know.
    """

    files: dict[LakeObject, FileOutcome] = field(default_factory=dict)
    rows_read: int = 0
    rows_loaded: int = 0
    rows_rejected: int = 0
    rows_new: int = 0
    rows_changed: int = 0
    rows_late: int = 0
    rows_unchanged: int = 0
    rows_duplicate: int = 0
    keys_closed: int = 0
    keys_reopened: int = 0
    left_patches: bool = False
    unknown_columns: list[str] = field(default_factory=list)
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    listing: str = ""

    @property
    def refusals(self) -> list[str]:
        """What the lake said of files that it did not give out."""
        return [each.error for each in self.files.values() if each.is_refused]
