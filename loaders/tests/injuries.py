"""Faults at the joints of a load, for tests of what happens then."""

from analytics.warehouse.catalog import PUBLISHING
from loaders.jobs import load
from loaders.staging.scratch_tables import ScratchTables


def fail_to_log(monkeypatch):
    """Make loads fail after they are published, before the load log records their end."""
    log = ScratchTables.log

    def fail(scratch, kind, **more):
        if kind != PUBLISHING:
            raise ZeroDivisionError
        log(scratch, kind, **more)

    monkeypatch.setattr(ScratchTables, "log", fail)


def after_staging(monkeypatch, act):
    """Call `act(scratch)` once a load has staged its rows."""
    stage = load.stage

    def stage_and_act(scratch, *arguments):
        staged = stage(scratch, *arguments)
        act(scratch)
        return staged

    monkeypatch.setattr(load, "stage", stage_and_act)
