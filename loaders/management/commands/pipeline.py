"""`manage.py pipeline [--tenant …] [--kind …] [--test]`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from loaders.management import choosing
from loaders.models import PipelineRun
from loaders.pipelines import RunRefused, request_run


class Command(BaseCommand):
    help = (
        "Queue pipeline runs; workers run them. Without options: incremental runs of all active "
        "tenants."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        choosing.add_tenant_option(parser)
        parser.add_argument(
            "--kind", choices=list(PipelineRun.Kind), default=PipelineRun.Kind.INCREMENTAL
        )
        parser.add_argument(
            "--test", action="store_true", help="Go through every step and write nothing."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        for tenant in choosing.tenants(options):
            try:
                run = request_run(
                    tenant, PipelineRun.Trigger.COMMAND, options["kind"], is_test=options["test"]
                )
            except RunRefused as error:
                self.stderr.write(str(error))
            else:
                self.stdout.write(f"Queued {run}")
