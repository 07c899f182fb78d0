"""`manage.py doctor [--tenant …]`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from avesa_site.doctor.checks import examine
from loaders.management import selection


class Command(BaseCommand):
    help = "Check the connection to every part. Exits with 1 if a check fails."
    requires_system_checks = ()  # they would stop it before it could report the problem

    def add_arguments(self, parser: ArgumentParser) -> None:
        selection.add_tenant_option(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        failed = []
        for found in examine(selection.tenants(options)):
            mark = "ok" if found.is_ok else "FAILED"
            self.stdout.write(
                f"{found.part:<24} {mark:<7} {found.milliseconds:>7,.0f} ms  {found.message}"
            )
            failed += [] if found.is_ok else [found.part]
        if failed:
            raise CommandError(f"Failed: {', '.join(failed)}.")
