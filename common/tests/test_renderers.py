"""A renderer that aborts, hangs or takes too much memory costs one request."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from common import renderers
from common.renderers import RenderingFailed, render

ROOT = Path(__file__).parents[2]
MJML = "<mjml><mj-body><mj-text>hello</mj-text></mj-body></mjml>"


def chart(title):
    return json.dumps(
        {
            "title": title,
            "mark": "bar",
            "data": {"values": [{"a": 1}]},
            "encoding": {"x": {"field": "a", "type": "quantitative"}},
        }
    )


def process():
    """The one that the next request goes to."""
    return renderers._renderers._idle[-1]._process


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_renderer_that_aborts_costs_one_request():
    render("mail", mjml=MJML)
    before = process().pid
    with pytest.raises(RenderingFailed, match=r"The renderer crashed \(SIG[A-Z]+\)\."):
        render("chart_png", spec=chart("a\x01b"), scale=2)
    [image] = render("chart_png", spec=chart("a b"), scale=2)
    assert image.startswith(b"\x89PNG")
    assert process().pid != before
    assert not is_running(before)


def test_an_error_is_passed_on_and_the_renderer_stays():
    render("mail", mjml=MJML)
    before = process().pid
    with pytest.raises(RenderingFailed, match=r".{10,}"):
        render("mail", mjml="<mjml><mj-body>")
    assert b"hello" in render("mail", mjml=MJML)[0]
    assert process().pid == before


def test_a_renderer_that_takes_too_long_is_ended():
    render("chart_svg", spec=chart("quick"))
    before = process().pid
    begun = time.monotonic()
    with pytest.raises(RenderingFailed, match=r"took longer than 0\.001 seconds"):
        render("chart_png", seconds=0.001, spec=chart("slow"), scale=9)
    assert time.monotonic() - begun < 5
    assert not is_running(before)
    assert render("chart_svg", spec=chart("quick"))


@pytest.mark.slow
def test_a_renderer_that_takes_too_much_memory_is_ended():
    points = {"sequence": {"start": 0, "stop": 30_000_000}}
    spec = {"data": points, "mark": "point", "encoding": {"x": {"field": "data"}}}
    with pytest.raises(RenderingFailed, match=r"The renderer crashed \(SIG[A-Z]+\)\."):
        render("chart_svg", spec=json.dumps(spec))
    assert render("chart_svg", spec=chart("small"))


def test_one_that_died_unnoticed_is_replaced():
    render("mail", mjml=MJML)
    os.kill(process().pid, signal.SIGKILL)
    process().wait()
    assert render("mail", mjml=MJML)


def test_a_renderer_is_replaced_after_so_many_requests(monkeypatch):
    monkeypatch.setattr(renderers, "MAX_REQUESTS", 2)
    pids = set()
    for _ in range(4):
        render("mail", mjml=MJML)
        pids.add(process().pid)
    assert len(pids) >= 2


def test_threads_wait_for_a_renderer_and_no_more_are_started(monkeypatch):
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(render("mail", mjml=MJML))) for _ in range(9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 9
    assert len(renderers._renderers._idle) <= renderers.MAX_PROCESSES
    monkeypatch.setattr(renderers, "MAX_WAIT", 0.01)
    for _ in range(renderers.MAX_PROCESSES):
        renderers._renderers._free.acquire()
    try:
        with pytest.raises(RenderingFailed, match="busy"):
            render("mail", mjml=MJML)
    finally:
        for _ in range(renderers.MAX_PROCESSES):
            renderers._renderers._free.release()


def test_no_secret_is_in_its_environment(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "very-secret")
    renderers._renderers.end_all()
    render("mail", mjml=MJML)
    assert b"very-secret" not in Path(f"/proc/{process().pid}/environ").read_bytes()


def script(body):
    """Start Python with `body`; it prints the number of its renderer process first."""
    begin = (
        "from common import renderers\n"
        f"MJML = {MJML!r}\n"
        "def pid():\n"
        "    renderers.render('mail', mjml=MJML)\n"
        "    return renderers._renderers._idle[-1]._process.pid\n"
    )
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "avesa_site.settings"}
    return subprocess.Popen(
        [sys.executable, "-c", begin + body],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_renderers_end_with_the_process_that_uses_them(how):
    with script("import time\nprint(pid(), flush=True)\ntime.sleep(60)") as parent:
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.send_signal(how)
        parent.wait()
    wait_until(lambda: not is_running(pid))


@pytest.mark.slow
def test_a_fork_has_renderers_of_its_own():
    """As Celery's prefork workers are: daemons, which may have no children of multiprocessing."""
    body = """
import multiprocessing
def child(queue):
    queue.put(pid())
if __name__ == "__main__":
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    mine = pid()
    other = fork.Process(target=child, args=(queue,), daemon=True)
    other.start()
    theirs = queue.get(timeout=60)
    other.join()
    print(mine, theirs, pid(), flush=True)
"""
    with script(body) as parent:
        mine, theirs, again = map(int, parent.stdout.read().split())
    assert parent.returncode == 0
    assert mine == again != theirs
    wait_until(lambda: not is_running(mine) and not is_running(theirs))
