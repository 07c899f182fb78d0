"""Run all benchmarks, or one of them: `python -m benchmarks [bulk_load]`.

Each runs in its own process, since Django can be set up only once.
"""

import subprocess
import sys
from importlib import import_module

from benchmarks.report import record
from benchmarks.stack import stack

ALL = [
    "bulk_load",
    "incremental_load",
    "growth",
    "full_refresh",
    "many_tenants",
    "memory",
    "hostile_files",
    "dashboard",
    "superset",
    "explore",
    "reports",
    "operations",
]


def run_all():
    return [
        name
        for name in ALL
        if subprocess.run([sys.executable, "-m", "benchmarks", name]).returncode
    ]


def run_one(name):
    module = import_module(f"benchmarks.{name}")
    if missing := getattr(module, "unavailable", str)():
        print(f"{name} is skipped: {missing}")
        return []
    with stack(services=getattr(module, "SERVICES", False)):
        section = module.measure()
        record(section)
    return [] if section.passed else [name]


if __name__ == "__main__":
    failed = run_one(sys.argv[1]) if sys.argv[1:] else run_all()
    if failed:
        sys.exit(f"below the bar: {', '.join(failed)}")
