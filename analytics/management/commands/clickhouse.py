"""`manage.py clickhouse`: the embedded warehouse, for development and single machines."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand

from analytics.warehouse.embedded.server import Options, run


class Command(BaseCommand):
    help = "Run the embedded ClickHouse endpoint until it is stopped."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        url = urlsplit(settings.CLICKHOUSE_URL)
        parser.add_argument("--path", type=Path, default=settings.VAR_DIR / "clickhouse")
        parser.add_argument("--host", default=url.hostname or Options.host)
        parser.add_argument("--port", type=int, default=url.port or Options.port)
        parser.add_argument("--user", default=unquote(url.username or Options.user))
        parser.add_argument("--password", default=unquote(url.password or ""))

    def handle(self, *args: Any, **options: Any) -> None:
        names = ("path", "host", "port", "user", "password")
        sys.exit(run(Options(**{name: options[name] for name in names})))
