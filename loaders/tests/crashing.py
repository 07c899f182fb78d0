"""Simulated crashes at a chosen statement."""

from analytics.warehouse.client import WarehouseClient


class Crash(BaseException):
    """Stands for the death of the process: no error handler may catch it."""


def crash_at(monkeypatch, number, *, before):
    """Crash at the `number`th statement, before it is sent or after it has run.

    Returns a function that returns how many statements were tried.
    """
    count = 0
    methods = {name: getattr(WarehouseClient, name) for name in ("run", "insert")}

    def dying(name):
        def call(self, *args, **kwargs):
            nonlocal count
            count += 1
            if count > number or (count == number and before):
                raise Crash
            result = methods[name](self, *args, **kwargs)
            if count == number:
                raise Crash
            return result

        return call

    for name in methods:
        monkeypatch.setattr(WarehouseClient, name, dying(name))
    return lambda: count


def before_statement(monkeypatch, number, action):
    """Call `action` just before the `number`th statement.

    Returns a function that returns whether that statement was reached."""
    count = 0
    methods = {name: getattr(WarehouseClient, name) for name in ("run", "insert", "rows")}

    def counting(name):
        def call(self, *args, **kwargs):
            nonlocal count
            count += 1
            if count == number:
                action()
            return methods[name](self, *args, **kwargs)

        return call

    for name in methods:
        monkeypatch.setattr(WarehouseClient, name, counting(name))
    return lambda: count >= number
