"""How far a load is: its run notes it here, its heartbeat writes it down for staff."""

from collections.abc import Callable, Iterable, Sequence

from loaders.lake.s3 import LakeObject
from loaders.staging.file_schema import SourceFile

# Percent of a load that is done when a phase begins: reading is most of it.
COMPARING, PUBLISHING = 70, 95


class Progress:
    """The step of a run, files and bytes to read, and bytes and rows that were read.

    One thread writes, another may read. Of formats that do not state their rows, these are known
    once they are counted. `on_step` gets the name of each step; it may raise to stop the run.
    """

    def __init__(self, on_step: Callable[[str], None] = lambda name: None) -> None:
        self.step = on_step
        self.files_found = 0
        self.bytes_found = 0
        self.bytes_done = 0
        self.rows_done = 0
        self.percent_done = 0
        self._reading_bytes = 0
        self._reading_rows: int | None = None

    def found(self, files: Iterable[LakeObject]) -> None:
        sizes = [each.size for each in files]
        self.files_found, self.bytes_found = len(sizes), sum(sizes)
        self.bytes_done = self.rows_done = 0

    def reading(self, group: Sequence[SourceFile]) -> None:
        """These files are being read from now on."""
        rows = [each.rows for each in group]
        known = [count for count in rows if count is not None]
        self._reading_rows = sum(known) if len(known) == len(rows) else None
        self._reading_bytes = sum(each.object.size for each in group)

    def read(self) -> None:
        """The files that were being read are done."""
        self.bytes_done += self._reading_bytes
        self.rows_done += self._reading_rows or 0
        self._reading_bytes, self._reading_rows = 0, None

    def now(self, rows: int = 0, size: int = 0) -> dict[str, int]:
        """The job's fields, when the statement under way has read `rows` rows or `size` bytes."""
        part = rows / self._reading_rows if self._reading_rows else size / (self.bytes_found or 1)
        done = self.bytes_done + int(self._reading_bytes * min(1.0, part))
        share = done / self.bytes_found if self.bytes_found else 0.0
        return {
            "files_found": self.files_found,
            "bytes_found": self.bytes_found,
            "bytes_done": done,
            "rows_read": self.rows_done + (rows if self._reading_bytes else 0),
            "percent": max(self.percent_done, int(COMPARING * min(1.0, share))),
        }
