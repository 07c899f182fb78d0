"""The sample lake of most tests, generated and read back once."""

from collections import defaultdict
from datetime import UTC, date, datetime, time

import pytest

from avesa_site.demo.sample_lake import SAMPLE_TENANTS, generate
from avesa_site.tests.sample_lake.reading import TABLES_BY_NAME, read_rows

UNTIL = date(2026, 11, 22)
SINCE = date(2024, 11, 22)
SCALE = 0.28
START = datetime.combine(SINCE, time(), UTC)
END = datetime.combine(UNTIL, time(), UTC)

KEYS = {
    "companies": "company_id",
    "contacts": "contact_id",
    "tickets": "ticket_id",
    "time_entries": "entry_id",
}


class SampleLake:
    """The content of all files: rows by tenant and table, and histories by business key."""

    def __init__(self, files):
        self.files = files
        self.rows_of_file = {}
        self.rows = {}
        self.histories = {}
        self.current = {}
        read = defaultdict(list)
        for lake_file in files:
            tenant_id, _, table, *_ = lake_file.key.split("/")
            self.rows_of_file[lake_file.key] = read_rows(lake_file)
            read[tenant_id, table] += self.rows_of_file[lake_file.key]
        for place, rows in read.items():
            self._keep(place, rows)

    def _keep(self, place, rows):
        histories = defaultdict(list)
        for row in rows:
            histories[row[KEYS[place[1]]]].append(row)
        for history in histories.values():
            history.sort(key=lambda row: row["updated_at"])
        self.rows[place] = rows
        self.histories[place] = dict(histories)
        self.current[place] = {key: history[-1] for key, history in histories.items()}

    def everywhere(self, table):
        """Give the histories of all tenants' records of a table."""
        for tenant in SAMPLE_TENANTS:
            yield from self.histories[tenant.tenant_id, table].values()


@pytest.fixture(scope="session")
def lake():
    return SampleLake(list(generate(UNTIL, SCALE)))


@pytest.fixture(params=[tenant.tenant_id for tenant in SAMPLE_TENANTS])
def tenant(request):
    return next(one for one in SAMPLE_TENANTS if one.tenant_id == request.param)


@pytest.fixture(params=list(TABLES_BY_NAME))
def table(request):
    return request.param
