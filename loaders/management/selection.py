"""How commands choose tenants and tables, and report what they queued."""

from argparse import ArgumentParser
from collections.abc import Callable, Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet

from analytics.warehouse.catalog import TABLES
from loaders.jobs.queue import LoadRefused
from loaders.models import Work
from loaders.pipelines.runs import RunRefused
from tenants.models import Tenant


def add_options(parser: ArgumentParser) -> None:
    add_tenant_option(parser)
    parser.add_argument("--table", action="append", choices=list(TABLES))


def add_tenant_option(parser: ArgumentParser) -> None:
    parser.add_argument("--tenant", action="append", help="A tenant id; may be repeated.")


def tenants(options: dict[str, Any]) -> QuerySet[Tenant]:
    """The named active tenants, or all. Raises CommandError if a name is not one of them."""
    active = Tenant.objects.filter(is_active=True).order_by("id")
    if not options["tenant"]:
        return active
    chosen = active.filter(id__in=options["tenant"])
    if unknown := set(options["tenant"]) - {tenant.id for tenant in chosen}:
        raise CommandError(f"No active tenant: {', '.join(sorted(unknown))}")
    return chosen


def tables(options: dict[str, Any]) -> list[str]:
    return options["table"] or list(TABLES)


def queue_all(command: BaseCommand, requests: Iterable[Callable[[], Work]]) -> None:
    """Make each request and print its result. Raises CommandError if any was refused."""
    refused = 0
    for request in requests:
        try:
            command.stdout.write(f"Queued {request()}")
        except (LoadRefused, RunRefused) as error:
            command.stderr.write(str(error))
            refused += 1
    if refused:
        raise CommandError(f"{refused} refused; see the reasons above.")
