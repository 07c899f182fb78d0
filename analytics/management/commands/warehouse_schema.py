"""`manage.py warehouse_schema plan|apply|check`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from analytics.warehouse import reader_role, schema
from analytics.warehouse.errors import WarehouseError


class Command(BaseCommand):
    help = (
        "Create and update the warehouse's tables and views as declared in the catalog, and with "
        "CLICKHOUSE_READER_URL the role of the user that reads for tenants."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "mode",
            choices=["plan", "apply", "check"],
            help="plan: show the differences and their statements. apply: show and run them. "
            "check: show them and exit with 1 if there are any.",
        )

    def handle(self, *args: Any, mode: str, **options: Any) -> None:
        try:
            changes = schema.plan() + reader_role.plan()
            self._show(changes, with_statements=mode != "check")
            if mode == "apply" and changes:
                schema.apply(changes)
                self.stdout.write(self.style.SUCCESS(f"Changes applied: {len(changes)}."))
        except schema.SchemaRefused:
            raise CommandError(
                "Nothing was changed. Resolve the refused differences above by hand first."
            ) from None
        except WarehouseError as error:
            raise CommandError(str(error)) from error
        if mode == "check" and changes:
            raise CommandError(
                f"The warehouse does not match the catalog. Differences: {len(changes)}."
            )

    def _show(self, changes: list[schema.Change], *, with_statements: bool) -> None:
        if not changes:
            self.stdout.write("The warehouse matches the catalog.")
        for change in changes:
            self.stdout.write(str(change))
            if with_statements and change.statement:
                self.stdout.write(f"{change.statement};\n")
