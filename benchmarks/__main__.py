"""Run all benchmarks, or those named: `python -m benchmarks [bulk_load …]`."""

import sys
from importlib import import_module

from .report import record
from .stack import stack

ALL = ["bulk_load", "dashboard"]


def main(names):
    missed = []
    for name in names or ALL:
        with stack():
            section = import_module(f"benchmarks.{name}").measure()
            record(section)
        if not section.passed:
            missed.append(name)
    if missed:
        sys.exit(f"below the bar: {', '.join(missed)}")


if __name__ == "__main__":
    main(sys.argv[1:])
