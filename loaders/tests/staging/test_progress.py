"""The progress of a load, from its files and the running statement."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from loaders.admin.progress import bar
from loaders.lake.s3 import LakeObject
from loaders.models import LoadJob
from loaders.staging.file_schema import FileSchema, SourceFile
from loaders.staging.progress import Progress


def file(name, size, rows):
    found = LakeObject("lake", name, "etag", size, datetime(2026, 1, 1, tzinfo=UTC))
    return SourceFile(found, FileSchema("parquet", ()), rows)


def test_rows_and_bytes_add_up_over_groups_and_the_running_statement():
    first, second = file("a", 100, 10), file("b", 300, 30)
    progress = Progress()
    progress.found([first.object, second.object])
    assert progress.now() == {
        "files_found": 2,
        "bytes_found": 400,
        "bytes_done": 0,
        "rows_read": 0,
        "percent": 0,
    }
    progress.reading([first])
    now = progress.now(rows=5)
    assert (now["rows_read"], now["bytes_done"]) == (5, 50)
    progress.read()
    progress.reading([second])
    now = progress.now(rows=15)
    assert (now["rows_read"], now["bytes_done"]) == (25, 250)
    progress.read()
    now = progress.now(rows=1000)  # reported by another statement
    assert (now["rows_read"], now["bytes_done"], now["percent"]) == (40, 400, 70)


def test_files_with_an_unknown_number_of_rows_count_once_they_are_read():
    progress = Progress()
    unknown = file("a.csv", 100, None)
    progress.found([unknown.object])
    progress.reading([unknown])
    assert progress.now(rows=7, size=50)["rows_read"] == 7
    progress.read()
    progress.rows_done = 9
    assert progress.now()["rows_read"] == 9


@pytest.mark.django_db
def test_the_bar_shows_rows_bytes_files_and_the_time_left(acme):
    job = LoadJob(
        tenant=acme,
        table="tickets",
        state=LoadJob.State.RUNNING,
        started_at=timezone.now() - timedelta(seconds=20),
        step="Staging",
        percent=25,
        rows_read=1_234_567,
        bytes_found=4 << 20,
        bytes_done=1 << 20,
        files_found=3,
    )
    shown = str(bar(job)).replace("\xa0", " ")
    assert "1,234,567 rows read · 1.0 MB of 4.0 MB in 3 files · about 6" in shown
    assert '<progress class="avesa-progress" max="100" value="25"' in shown
