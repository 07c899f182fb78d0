"""`python -m avesa_site.demo`: everything on this machine, with the sample lake loaded.

Starts the five processes of the Procfile on the embedded defaults, creates the schema, loads the
sample data, prints the address and the logins, and runs until Ctrl-C. All state is in `var/`. On
the next start, the data is still there and nothing is loaded twice.
"""

import argparse
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import BinaryIO

ROOT = Path(__file__).resolve().parents[2]
VAR = ROOT / os.environ.get("AVESA_VAR_DIR", "var")
LOG = VAR / "demo.log"
ENV_FILE = VAR / "demo.env"
START_SECONDS = 90
# Packages that the demo needs and production does not have.
NEEDED = ("chdb", "moto", "honcho")
# honcho's message when a process has ended.
_STOPPED = re.compile(r"system +\| (\w+\.\d+) stopped")


class DemoFailed(Exception):
    """The demo cannot continue. The text explains what to do."""


class Stopped(BaseException):
    """The demo received a signal to stop."""


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)
    try:
        return _run(options)
    except DemoFailed as error:
        print(f"\nThe demo stopped: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, Stopped):
        print("\nStopped before it was ready.")
        return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="the web port")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the sample lake")
    return parser.parse_args()


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped


def _run(options: argparse.Namespace) -> int:
    _check_installed()
    VAR.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_port(options.port)
    values = _set_environment(options.port)
    import django

    django.setup()
    from avesa_site.demo import seed

    step("Database", seed.migrate)
    with LOG.open("wb") as log:
        processes = _start_processes(log)
    try:
        _write_env_file(values)
        step("Processes", lambda: _wait_for_processes(processes, options.port))
        step("Warehouse schema", seed.apply_schema)
        step("Sample lake", lambda: seed.fill_lake(VAR / "lake", options.scale))
        step("Tenants and users", seed.create_people)
        step("Loads", lambda: seed.load(lambda: _check_alive(processes)))
        print(seed.welcome(options.port), flush=True)
        return _stay(processes)
    except seed.PLAIN_ERRORS as error:
        again = "If this happens again, start from scratch with: make clean demo"
        raise DemoFailed(f"{error}\n{again}") from error
    finally:
        _end(processes)


def step(name: str, action: Callable[[], str]) -> None:
    """Run one step and print its result and duration."""
    print(f"  {name:<18}", end="", flush=True)
    started = time.monotonic()
    outcome = action()
    print(f" {outcome} ({time.monotonic() - started:.1f} s)", flush=True)


def _check_installed() -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise DemoFailed(
            f"not installed: {', '.join(missing)}. "
            "Install them with: pip install --require-hashes -r requirements-demo.lock"
        )


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise DemoFailed(
                f"port {port} cannot be used ({error.strerror}). "
                f"Try: make demo PORT={port + 1 if port < 65535 else 8000}"
            ) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _set_environment(port: int) -> dict[str, str]:
    """Set the embedded defaults and ignore .env: a demo must not touch real services.

    Returns the settings.
    """
    from avesa_site.demo.credentials import secrets_of

    s3_port = _free_port()
    values = {
        "DEBUG": "False",
        "HTTPS": "False",
        "STAFF_SECOND_FACTOR": "False",
        "SECRET_KEY": secrets_of(VAR)["secret_key"],
        "ALLOWED_HOSTS": "localhost,127.0.0.1",
        "AVESA_VAR_DIR": str(VAR),
        "DATABASE_URL": "",
        "CELERY_BROKER_URL": "",
        "CACHE_URL": "",
        "CLICKHOUSE_URL": f"clickhouse://default@127.0.0.1:{_free_port()}/avesa",
        "CLICKHOUSE_SECRET": "",
        "CLICKHOUSE_READER_URL": "",
        "CLICKHOUSE_READER_SECRET": "",
        "CLICKHOUSE_CLUSTER": "",
        "LAKE_SECRET": "",
        "LAKE_BUCKET": "avesa-lake",
        "LAKE_ENDPOINT_URL": f"http://127.0.0.1:{s3_port}",
        "LAKE_REGION": "us-east-1",
        "LAKE_ACCESS_KEY_ID": "demo",
        "LAKE_SECRET_ACCESS_KEY": "demo-secret",
        "LOAD_TRANSPORT": "engine",
        "SITE_URL": f"http://127.0.0.1:{port}",
        "EMAIL_URL": "",
        "EMAIL_PROVIDER": "",
        "ANYMAIL": "{}",
        "ALERT_EMAILS": "",
        "ALERT_WEBHOOK_URL": "",
        "ALERT_SNS_TOPIC": "",
    }
    os.environ.update(
        values,
        AVESA_ENV_FILE=os.devnull,
        DJANGO_SETTINGS_MODULE="avesa_site.settings",
        S3_PORT=str(s3_port),
        WEB_PORT=str(port),
        PYTHONUNBUFFERED="1",
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    )
    return values


def _write_env_file(values: dict[str, str]) -> None:
    """Write the settings for commands run beside the demo. Only its owner may read the file."""
    lines = [f"{name}={value}\n" for name, value in values.items()]
    with os.fdopen(os.open(ENV_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.writelines(lines)


def _start_processes(log: BinaryIO) -> "subprocess.Popen[bytes]":
    # In a separate session, so that Ctrl-C only reaches this process, which then stops the others.
    return subprocess.Popen(
        [sys.executable, "-m", "honcho", "start"],
        cwd=ROOT,
        stdout=log,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def _wait_for_processes(processes: "subprocess.Popen[bytes]", port: int) -> str:
    from analytics.warehouse.pool import address

    warehouse = address().port
    waiting = {"web": port, "warehouse": warehouse, "S3": int(os.environ["S3_PORT"])}
    deadline = time.monotonic() + START_SECONDS
    while waiting:
        _check_alive(processes)
        if time.monotonic() > deadline:
            raise DemoFailed(f"{', '.join(waiting)} did not start. See {LOG}.")
        for name in [name for name, each in waiting.items() if _listens(each)]:
            del waiting[name]
        time.sleep(0.1)
    return "running: web, worker, beat, embedded ClickHouse, S3 emulation"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _check_alive(processes: "subprocess.Popen[bytes]") -> None:
    if processes.poll() is None:
        return
    lines = LOG.read_text(errors="replace").splitlines()
    first = next((found for line in lines if (found := _STOPPED.search(line))), None)
    name = first[1] if first else ""
    last_lines = "\n  ".join([line for line in lines if f" {name}" in line][-10:])
    raise DemoFailed(f"{name or 'a process'} ended. Its last lines in {LOG}:\n  {last_lines}")


def _stay(processes: "subprocess.Popen[bytes]") -> int:
    try:
        while True:
            _check_alive(processes)
            time.sleep(0.5)
    except (KeyboardInterrupt, Stopped):
        print("\nStopping …", flush=True)
        return 0


def _end(processes: "subprocess.Popen[bytes]") -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave processes behind
    if processes.poll() is None:
        processes.terminate()
        try:
            processes.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(processes.pid, signal.SIGKILL)
    ENV_FILE.unlink(missing_ok=True)
    print("All processes have ended.")


if __name__ == "__main__":
    sys.exit(main())
