"""`make demo` as a new user runs it: started, stopped by Ctrl-C, started again."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Demo:
    """A running demo; `output` is what it printed until it was ready."""

    def __init__(self, folder, port):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "avesa_site.demo", "--port", str(port), "--scale", "0.02"],
            cwd=ROOT,
            env=os.environ | {"AVESA_VAR_DIR": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""
        for line in self.process.stdout:
            self.output += line
            if "Ctrl-C" in line:
                break

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        rest = self.process.stdout.read()
        self.process.stdout.close()
        return self.process.wait(30), rest


def _processes_of(folder):
    """The running processes that use `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(folder).encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return [pid for pid in found if int(pid) != os.getpid()]


def _manage(folder, *arguments):
    """A command beside the demo, as `make manage` runs it."""
    env = os.environ | {"AVESA_ENV_FILE": str(folder / "demo.env")}  # which wins over the tests'
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_the_demo_starts_loads_stops_and_starts_again(tmp_path):
    port = _free_port()
    first = Demo(tmp_path, port)
    assert f"http://127.0.0.1:{port}/" in first.output
    assert re.search(r"[\d,]+ rows in 12 tables", first.output), first.output
    assert "nothing to load" not in first.output
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/login/", timeout=10) as page:
        assert page.status == 200
    assert _manage(tmp_path, "warehouse_schema", "check").returncode == 0
    doctor = _manage(tmp_path, "doctor")
    assert doctor.returncode == 0, doctor.stdout
    code, rest = first.interrupt()
    assert (code, "Traceback" in rest) == (0, False)
    assert _processes_of(tmp_path) == []
    assert not (tmp_path / "demo.env").exists()

    again = Demo(tmp_path, port)
    assert "nothing to load" in again.output
    assert "up to date" in again.output
    assert again.interrupt()[0] == 0
    assert _processes_of(tmp_path) == []


def test_a_port_in_use_gives_an_error_with_a_remedy(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        demo = Demo(tmp_path, server.getsockname()[1])
        assert demo.process.wait(30) == 1
        demo.process.stdout.close()
        assert "make demo PORT=" in demo.output
