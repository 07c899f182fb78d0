"""`manage.py metric_catalog > docs/metrics.md`"""

from typing import Any

from django.core.management.base import BaseCommand

from analytics.metrics.documentation import catalog


class Command(BaseCommand):
    help = "Print the definition of every metric, from the registry."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(catalog(), ending="")
