"""`manage.py load [--tenant …] [--table …] [--kind …] [--vanished …]`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from analytics.warehouse.catalog import TABLES
from loaders.jobs import LoadRefused, request_load
from loaders.management import choosing
from loaders.models import LoadJob
from tenants.models import Tenant


class Command(BaseCommand):
    help = (
        "Queue loads; workers run them. Without options: incremental loads of all tables of all "
        "active tenants."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        choosing.add_options(parser)
        kinds = [kind for kind in LoadJob.Kind if kind is not LoadJob.Kind.REPAIR]
        parser.add_argument("--kind", choices=kinds, default=LoadJob.Kind.INCREMENTAL)
        parser.add_argument(
            "--vanished",
            choices=list(LoadJob.Vanished),
            default=LoadJob.Vanished.CLOSE_IF_FEW,
            help="What a refresh does with keys that are in no file any more.",
        )
        parser.add_argument(
            "--limit",
            type=int,
            default=LoadJob.VANISHED_LIMIT,
            help="Percent of the current keys: as many as this are no longer few.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        for tenant in choosing.tenants(options):
            for name in choosing.tables(options):
                self._request(tenant, name, options)

    def _request(self, tenant: Tenant, name: str, options: dict[str, Any]) -> None:
        try:
            job = request_load(
                tenant,
                TABLES[name],
                options["kind"],
                vanished=options["vanished"],
                vanished_limit=options["limit"],
            )
        except LoadRefused as error:
            self.stderr.write(str(error))
        else:
            self.stdout.write(f"Queued {job}")
