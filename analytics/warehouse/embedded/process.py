"""Runs the endpoint as a separate process, for tests, benchmarks and scripts."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

_ROOT = Path(__file__).resolve().parents[len(__package__.split("."))]
_READY = re.compile(r" on (?P<host>\S+):(?P<port>\d+), data in ")
_STOP_SECONDS = 10


class EmbeddedClickHouse:
    """Starts the endpoint on a free port and stops it when the context ends.

    The data stays in `directory`. Raises RuntimeError with the endpoint's message if it cannot
    start. Its errors go to `log`, by default `endpoint.log` in the directory. `options` are more
    arguments of its command line.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        password: str = "",
        log: Path | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.log = log or directory / "endpoint.log"
        self.password = password
        self.host = ""
        self.port = port
        self.directory = directory
        self._options = options
        self._process = self._spawn()
        self._wait_until_ready()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def url(self) -> str:
        password = quote(self.password, safe="")
        return f"clickhouse://default:{password}@{self.host}:{self.port}/default"

    def stop(self) -> int:
        """Stops it with SIGTERM, as an init system would; returns its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stops it with SIGKILL, like a crash."""
        self._end(signal.SIGKILL)

    def interrupt(self) -> int:
        """Stops it with SIGINT, like Ctrl-C; returns its exit code."""
        return self._end(signal.SIGINT)

    def __enter__(self) -> "EmbeddedClickHouse":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _spawn(self) -> "subprocess.Popen[str]":
        options = ["--path", str(self.directory.absolute()), "--port", str(self.port)]
        options += self._options
        options.append("--until-stdin-closes")  # a test run that is killed leaves no endpoint
        paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "EMBEDDED_CLICKHOUSE_PASSWORD": self.password,
        }
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", __package__, *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
            )

    def _wait_until_ready(self) -> None:
        assert self._process.stdout is not None
        found = _READY.search(self._process.stdout.readline())
        if found is None:
            self._end(signal.SIGKILL)
            raise RuntimeError(self.log.read_text().strip() or "the endpoint did not start")
        self.host, self.port = found["host"], int(found["port"])

    def _end(self, number: int) -> int:
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
