"""The data directory and its lock: only one process may use it."""

import fcntl
import os
from pathlib import Path
from typing import IO

from analytics.warehouse.embedded import spool
from analytics.warehouse.embedded.server_errors import StartupError

_LOCK = "endpoint.lock"
_SPOOL = "spool"


class DataDirectory:
    """Locks the directory for this process. Keep the object until the process ends."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.spool = self.path / _SPOOL
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.path)
            spool.clean(self.spool)
        except OSError as error:
            raise StartupError(
                f"cannot write to the data directory {self.path} ({error.strerror}): make it "
                "writable, free some space, or choose another with --path"
            ) from None

    def release(self) -> None:
        self._lock.close()


def _lock(path: Path) -> IO[str]:
    lock = (path / _LOCK).open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        lock.close()
        raise StartupError(
            f"the data directory {path} is in use by process {owner}: stop that process, or "
            "choose another directory with --path"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
