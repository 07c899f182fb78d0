"""Statements of pages at once: bounded, and fair between tenants."""

import threading
import time
from contextlib import ExitStack

import pytest

from analytics.warehouse import turns
from analytics.warehouse.errors import WarehouseBusy
from analytics.warehouse.turns import Turns


def take(of, *tenants):
    """Take a turn for each of them; returns the ranks and what ends them."""
    stack = ExitStack()
    return [stack.enter_context(of.turn(each)) for each in tenants], stack


def test_a_tenant_that_is_alone_has_half_of_the_turns():
    of = Turns(8, seconds=0)
    ranks, taken = take(of, *["acme"] * 4)
    assert ranks == [1, 1, 1, 1]
    with pytest.raises(WarehouseBusy):
        take(of, "acme")
    taken.close()
    take(of, "acme")[1].close()


def test_a_tenant_with_others_has_a_quarter_and_its_later_turns_have_lower_ranks():
    of = Turns(8, seconds=0)
    take(of, "globex")[1].close()
    ranks, taken = take(of, "acme", "acme")
    assert ranks == [1, 2]
    with pytest.raises(WarehouseBusy):
        take(of, "acme")
    assert take(of, "globex")[0] == [1]
    taken.close()


def test_others_are_gone_after_a_while(monkeypatch):
    of = Turns(8, seconds=0)
    take(of, "globex")[1].close()
    monkeypatch.setattr(turns, "ALONE_SECONDS", 0)
    assert take(of, *["acme"] * 4)[0] == [1, 1, 1, 1]


def test_the_next_turn_goes_to_the_tenant_with_the_fewest():
    of = Turns(2, seconds=10)
    _, first = take(of, "acme", "initech")
    order, threads = [], []

    def wait(tenant):
        with of.turn(tenant):
            order.append(tenant)
            time.sleep(0.05)

    for tenant in ("acme", "acme", "globex"):
        threads.append(threading.Thread(target=wait, args=(tenant,)))
        threads[-1].start()
        while len(of._waiting) < len(threads):
            time.sleep(0.01)
    first.pop_all().close()
    for thread in threads:
        thread.join()
    assert order.index("globex") < 2
    assert sorted(order) == ["acme", "acme", "globex"]


def test_a_turn_that_comes_too_late_is_an_error_and_leaves_nothing():
    of = Turns(1, seconds=0.05)
    _, taken = take(of, "acme")
    with pytest.raises(WarehouseBusy):
        take(of, "globex")
    taken.close()
    assert take(of, "globex")[0] == [1]
