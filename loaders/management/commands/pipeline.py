"""`manage.py pipeline [--tenant …] [--kind …] [--test]`."""

from argparse import ArgumentParser
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand

from loaders.management import selection
from loaders.models import PipelineRun
from loaders.pipelines.runs import request_run


class Command(BaseCommand):
    help = (
        "Queue pipeline runs; workers run them. Without options: incremental runs of all active "
        "tenants."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        selection.add_tenant_option(parser)
        parser.add_argument(
            "--kind",
            choices=PipelineRun.Kind.values,
            default=PipelineRun.Kind.INCREMENTAL.value,
        )
        parser.add_argument("--test", action="store_true", help="Run every step but write nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        how = (PipelineRun.Trigger.COMMAND, options["kind"])
        selection.queue_all(
            self,
            (
                partial(request_run, tenant, *how, dry_run=options["test"])
                for tenant in selection.tenants(options)
            ),
        )
