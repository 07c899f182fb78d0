"""Files of the embedded defaults are for their user only."""

import os
import stat
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import django
django.setup()
from django.core.cache import cache
from django.core.mail import send_mail
from django.core.management import call_command
call_command("migrate", "contenttypes", verbosity=0, skip_checks=True)
cache.set("a", 1)
send_mail("a", "b", None, ["c@example.com"])
from avesa_site.celery import app
app.send_task("avesa_site.tasks.canary")
"""


def test_all_files_and_folders_are_private(tmp_path):
    var = tmp_path / "state"
    environment = {
        "PATH": os.environ["PATH"],
        "AVESA_ENV_FILE": os.devnull,
        "AVESA_VAR_DIR": str(var),
        "DJANGO_SETTINGS_MODULE": "avesa_site.settings",
        "SECRET_KEY": "a-key-for-this-test",
    }
    subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env=environment,
        check=True,
        umask=0o022,
    )
    made = {path.relative_to(var).parts[0] for path in var.rglob("*") if path.is_file()}
    assert made >= {"avesa.sqlite3", "cache", "mail", "broker"}
    readable = [
        str(path) for path in (var, *var.rglob("*")) if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    assert readable == []
