"""`manage.py load [--tenant …] [--table …]`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from analytics.warehouse.catalog import TABLES
from loaders.jobs import LoadRefused, request_load
from tenants.models import Tenant


class Command(BaseCommand):
    help = "Queue bulk loads; workers run them. Without options: all tables of all active tenants."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tenant", action="append", help="A tenant id; may be repeated.")
        parser.add_argument("--table", action="append", choices=list(TABLES))

    def handle(self, *args: Any, **options: Any) -> None:
        tenants = Tenant.objects.filter(is_active=True)
        if options["tenant"]:
            tenants = tenants.filter(id__in=options["tenant"])
            unknown = set(options["tenant"]) - {tenant.id for tenant in tenants}
            if unknown:
                raise CommandError(f"No active tenant: {', '.join(sorted(unknown))}")
        for tenant in tenants:
            for name in options["table"] or TABLES:
                self._request(tenant, name)

    def _request(self, tenant: Tenant, name: str) -> None:
        try:
            job = request_load(tenant, TABLES[name])
        except LoadRefused as error:
            self.stderr.write(str(error))
        else:
            self.stdout.write(f"Queued {job}")
