"""`manage.py load [--tenant …] [--table …] [--kind …] [--vanished …]`."""

from argparse import ArgumentParser
from functools import partial
from itertools import product
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from analytics.warehouse.catalog import TABLES
from loaders.jobs.queue import request_load
from loaders.management import selection
from loaders.models import LoadJob


class Command(BaseCommand):
    help = (
        "Queue loads; workers run them. Without options: incremental loads of all tables of all "
        "active tenants."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        selection.add_options(parser)
        kinds = [kind for kind in LoadJob.Kind.values if kind != LoadJob.Kind.REPAIR]
        parser.add_argument("--kind", choices=kinds, default=LoadJob.Kind.INCREMENTAL.value)
        parser.add_argument(
            "--vanished",
            choices=LoadJob.Vanished.values,
            help="What a full refresh does with keys that are gone from the files "
            "(default: close_if_few).",
        )
        parser.add_argument(
            "--limit",
            type=int,
            help="For close_if_few: close only if less than this percentage of the current keys is "
            f"gone (default: {LoadJob.VANISHED_LIMIT}).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        about_keys = {"vanished": options["vanished"], "vanished_limit": options["limit"]}
        given = {name: value for name, value in about_keys.items() if value is not None}
        if given and options["kind"] != LoadJob.Kind.REFRESH:
            raise CommandError("--vanished and --limit need --kind refresh.")
        places = product(selection.tenants(options), selection.tables(options))
        selection.queue_all(
            self,
            (
                partial(request_load, tenant, TABLES[name], options["kind"], **given)
                for tenant, name in places
            ),
        )
