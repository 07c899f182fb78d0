"""What `manage.py load` and `manage.py pipeline` queue, refuse and print."""

import pytest
from django.core.management import CommandError, call_command

from analytics.warehouse.catalog import TABLES
from loaders.jobs.queue import request_load
from loaders.models import LoadJob, PipelineRun


def test_loads_are_queued_for_the_chosen_tenants_and_tables(acme, globex, capsys):
    call_command("load", tenant=[acme.id], table=["companies", "tickets"], kind="bulk")
    found = LoadJob.objects.order_by("table").values_list("tenant", "table", "kind")
    assert list(found) == [(acme.id, "companies", "bulk"), (acme.id, "tickets", "bulk")]
    assert capsys.readouterr().out.count("Queued Bulk load") == 2


def test_a_refusal_fails_the_command_but_not_the_other_loads(acme, globex, capsys):
    call_command("load", tenant=[acme.id], table=["companies"])
    with pytest.raises(CommandError, match="1 refused"):
        call_command("load", table=["companies"])
    printed = capsys.readouterr()
    assert f"A load of {acme.id}/companies is already active." in printed.err
    assert LoadJob.objects.filter(tenant=globex).count() == 1
    call_command("pipeline", tenant=[acme.id])
    with pytest.raises(CommandError, match="1 refused"):
        call_command("pipeline")
    assert PipelineRun.objects.count() == 2


@pytest.mark.parametrize("limit", ["-5", "0", "101", "900"])
def test_a_limit_out_of_range_is_refused_with_the_reason(acme, limit, capsys):
    with pytest.raises(CommandError, match="4 refused"):
        call_command("load", "--kind", "refresh", "--limit", limit)
    assert "choose one from 1 to 100" in capsys.readouterr().err
    assert not LoadJob.objects.exists()


def test_options_of_a_refresh_are_refused_with_other_kinds(acme):
    with pytest.raises(CommandError, match="--kind refresh"):
        call_command("load", "--vanished", "close")
    call_command("load", "--kind", "refresh", "--vanished", "close", "--table", "tickets")
    assert LoadJob.objects.get().vanished == "close"


def test_an_unknown_kind_is_refused_with_the_list_of_kinds(acme, capsys):
    with pytest.raises(CommandError, match="'incremental', 'refresh', 'bulk'"):
        call_command("load", "--kind", "full")


def test_the_name_of_a_dry_run_marks_it_as_a_test(acme, capsys):
    call_command("pipeline", "--test")
    assert "(test)" in capsys.readouterr().out
    assert "(test)" in str(request_load(acme, TABLES["companies"], dry_run=True))
