"""`manage.py warehouse_integrity [--repair [--dry-run]] [--tenant …] [--table …]`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from analytics.warehouse.catalog import TABLES
from analytics.warehouse.errors import WarehouseError
from loaders.history import integrity
from loaders.jobs import worker
from loaders.jobs.queue import LoadRefused, request_load
from loaders.management import selection
from loaders.models import IntegrityCheck, LoadJob


class Command(BaseCommand):
    help = (
        "Check the stored history. Exits with 1 if it has faults. --repair fixes what it can, in "
        "a load job of its own; with --dry-run it only shows what it would change."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        selection.add_options(parser)
        parser.add_argument("--repair", action="store_true")
        parser.add_argument("--dry-run", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            faulty = self._check(options)
        except WarehouseError as error:
            raise CommandError(str(error)) from error
        if faulty:
            tables = "1 table has" if faulty == 1 else f"{faulty} tables have"
            raise CommandError(f"{tables} faults.")

    def _check(self, options: dict[str, Any]) -> int:
        """How many tables have faults or could not be checked."""
        faulty = 0
        for found in integrity.check_all(selection.tenants(options), selection.tables(options)):
            self._show(found)
            if found.faults and options["repair"]:
                self._repair(found, dry_run=options["dry_run"])
                if not options["dry_run"]:
                    found = integrity.check(found.tenant, TABLES[found.table])
                    self._show(found)
            faulty += not found.is_sound
        return faulty

    def _show(self, found: IntegrityCheck) -> None:
        if found.is_sound:
            self.stdout.write(f"{found}: sound, {found.versions:,} versions of {found.keys:,} keys")
        if found.error:
            self.stdout.write(f"{found}: {found.error}")
        for fault in found.faults:
            self.stdout.write(f"{found}: {integrity.Fault(**fault)}")
        for note in found.notes:
            self.stdout.write(f"{found}: {note}")

    def _repair(self, found: IntegrityCheck, *, dry_run: bool) -> None:
        try:
            job = request_load(
                found.tenant, TABLES[found.table], LoadJob.Kind.REPAIR, dry_run=dry_run
            )
        except LoadRefused as error:
            self.stderr.write(str(error))
            return
        if worker.run(job.pk) is None:
            self.stdout.write(f"{found}: a worker already runs {job}; follow it in the admin.")
            return
        job.refresh_from_db()
        self.stdout.write(f"{found}: {' '.join(job.notes) or job.error}")
