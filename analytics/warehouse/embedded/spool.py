"""Files in the data directory that hold a client's blocks until the engine has read them.

The engine's own streaming insert (`send_insert`) reports lost rows as written: it ignores
constraint violations, too many partitions and throwing views. INSERT … FROM INFILE reports them.
"""

from pathlib import Path
from types import TracebackType
from typing import IO
from uuid import uuid4

from analytics.warehouse.embedded.server_errors import ServerError, disk_full

_SUFFIX = ".native"


class Spool:
    """A file of blocks for the engine, removed when the context ends."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / f"{uuid4().hex}{_SUFFIX}"
        self.rows = 0
        self.error: ServerError | None = None
        self._file: IO[bytes] | None = None

    def __enter__(self) -> "Spool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()

    def write(self, data: bytes) -> None:
        """Never raises: a block must be read to its end even if it cannot be stored."""
        if self.error is None:
            try:
                self._file = self._file or self.path.open("wb")
                self._file.write(data)
            except OSError as error:
                self.error = disk_full(str(error))

    def check(self) -> None:
        """Raises the first error so far."""
        if self.error is not None:
            raise self.error

    def discard(self) -> None:
        if self._file is not None:
            self.seal()
            self.path.unlink(missing_ok=True)

    def seal(self) -> None:
        """Closes the file; `check` raises if not everything could be written."""
        if self._file is None:
            return
        try:
            self._file.close()
        except OSError as error:
            self.error = self.error or disk_full(str(error))


def clean(directory: Path) -> None:
    """Creates the spool directory and removes files left by a killed process."""
    directory.mkdir(exist_ok=True)
    for leftover in directory.glob(f"*{_SUFFIX}"):
        leftover.unlink(missing_ok=True)
