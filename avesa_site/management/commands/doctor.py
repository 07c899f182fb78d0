"""`manage.py doctor [--tenant …]`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from avesa_site.doctor.checks import examine
from loaders.management import selection


class Command(BaseCommand):
    help = "Ask every part whether it is there and lets us in. Exits with 1 if one does not."
    requires_system_checks = ()  # they would stop it before it could say what is wrong

    def add_arguments(self, parser: ArgumentParser) -> None:
        selection.add_tenant_option(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        unwell = []
        for found in examine(selection.tenants(options)):
            mark = "well" if found.is_well else "UNWELL"
            self.stdout.write(
                f"{found.part:<24} {mark:<7} {found.milliseconds:>7,.0f} ms  {found.says}"
            )
            unwell += [] if found.is_well else [found.part]
        if unwell:
            raise CommandError(f"Not well: {', '.join(unwell)}.")
