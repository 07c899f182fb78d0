"""`manage.py data_dictionary > docs/data-dictionary.md`"""

from typing import Any

from django.core.management.base import BaseCommand

from analytics.warehouse.data_dictionary import data_dictionary


class Command(BaseCommand):
    help = "Print the data dictionary, from the catalog."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(data_dictionary(), ending="")
