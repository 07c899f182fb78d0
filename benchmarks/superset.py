"""The overview next to a dashboard of ten charts in Superset, on the same data and engine.

Superset runs from a virtual environment of its own, named by SUPERSET_VENV:

    python3 -m venv /opt/superset
    /opt/superset/bin/pip install "apache-superset==6.1.*" "clickhouse-sqlalchemy[native]" \\
        rich cachetools "flask-caching==2.3.1"

`python -m benchmarks superset [tickets …]` measures it; without Superset, nothing is measured.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from benchmarks.dashboard import _fetch, _ms
from benchmarks.histories import fill
from benchmarks.report import Figure, Section

SIZES = (2_000, 100_000, 1_000_000)
ROUNDS = 11
DRIVER = Path(__file__).with_name("superset_driver.py")
CONFIG = """
SECRET_KEY = "only-for-measuring-only-for-measuring"
SQLALCHEMY_DATABASE_URI = "sqlite:///{folder}/superset.db"
WTF_CSRF_ENABLED = TALISMAN_ENABLED = PREVENT_UNSAFE_DB_CONNECTIONS = False
DATA_CACHE_CONFIG = {{"CACHE_TYPE": "SimpleCache", "CACHE_DEFAULT_TIMEOUT": 86400}}
"""


def unavailable():
    """Why it cannot be measured here, or ""."""
    venv = os.environ.get("SUPERSET_VENV", "")
    if not venv:
        return "set SUPERSET_VENV to a virtual environment with Superset"
    return "" if (Path(venv) / "bin" / "superset").exists() else f"no superset in {venv}/bin"


def measure():
    from django.conf import settings
    from django.test import Client

    from tenants.models import Membership, Tenant, User

    sizes = [int(each) for each in sys.argv[2:]] or SIZES
    settings.REQUEST_LIMITS = {kind: [10**6] * 4 for kind in settings.REQUEST_KINDS}
    user = User.objects.create_user("bench")
    for size in sizes:
        tenant = Tenant.objects.create(id=f"bench-{size}", name=f"Bench {size}")
        Membership.objects.create(user=user, tenant=tenant)
        fill(tenant.id, size)
    client = Client()
    client.force_login(user)
    ours = {size: _ours(client, f"bench-{size}") for size in sizes}
    theirs = _theirs(sizes)
    figures = [
        Figure(f"{size:,} tickets, {state}", f"AVESA {_ms(mine)}, Superset {_ms(other)}")
        for size in sizes
        for state, mine, other in zip(
            ("cold", "warm"), ours[size], theirs[f"bench-{size}"], strict=True
        )
    ]
    return Section(
        "superset",
        "The overview, and a dashboard of ten charts in Superset 6.1, on the same embedded engine; "
        f"median of {ROUNDS}, each in its own process without a network or a browser. Superset's "
        "charts read current versions only: no as-of date, no previous period, no targets. Its "
        "time is that of the dashboard's data and of its charts' figures, six at once",
        figures,
    )


def _ours(client, tenant):
    """(cold, warm) in seconds."""
    from django.core.cache import cache

    _fetch(client, tenant, "overview")
    cold = []
    for _ in range(ROUNDS):
        cache.clear()
        cold.append(_fetch(client, tenant, "overview"))
    return median(cold), median(_fetch(client, tenant, "overview") for _ in range(ROUNDS))


def _theirs(sizes):
    """{tenant: [cold, warm]} in seconds."""
    venv = Path(os.environ["SUPERSET_VENV"]) / "bin"
    port = urlsplit(os.environ["CLICKHOUSE_URL"]).port
    with tempfile.TemporaryDirectory(prefix="superset-") as folder:
        config = Path(folder) / "superset_config.py"
        config.write_text(CONFIG.format(folder=folder))
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "SUPERSET_HOME": folder,
            "SUPERSET_CONFIG_PATH": str(config),
        }

        def run(*command):
            done = subprocess.run(
                list(map(str, command)), env=environment, cwd=folder, capture_output=True, text=True
            )
            if done.returncode:
                raise SystemExit(f"{command[0]} failed:\n{done.stderr[-3000:]}")
            return done.stdout

        run(venv / "superset", "db", "upgrade")
        run(venv / "superset", "init")
        tenants = [f"bench-{size}" for size in sizes]
        printed = run(venv / "python", "-P", DRIVER, port, ROUNDS, *tenants)
    return json.loads(printed.splitlines()[-1])
