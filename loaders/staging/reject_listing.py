"""The values that kept rows out of a load."""

from typing import IO, Any

from analytics.warehouse.tenant_reader import TenantReader
from common.spreadsheets import Column, Sheet
from loaders.models import LoadJob

REJECTS_SHOWN = 500

HEADING = ("source_file", "source_row", "row_key", "column_name", "value", "reason")

_SELECT = f"""
SELECT {", ".join(HEADING)}
FROM load_rejects_of(tenant_id = {{tenant_id:String}})
WHERE load_id = {{load_id:UInt64}} AND attempt = {{attempt:UInt32}}
    AND table_name = {{table_name:String}}
ORDER BY source_file, source_row, column_name
"""


def rejects_of(job: LoadJob, limit: int = REJECTS_SHOWN) -> list[dict[str, Any]]:
    """The first `limit` rejects of a job, by file and row."""
    sql = f"{_SELECT} LIMIT {{limit:UInt64}}"
    return TenantReader(job.tenant).select(sql, _parameters(job) | {"limit": limit}).dicts()


def rejects_file(job: LoadJob) -> IO[bytes]:
    """All of them as a temporary CSV file. Raises ExportRefused, WarehouseError."""
    sheet = Sheet("Rejects", [Column(each) for each in HEADING], ())
    return TenantReader(job.tenant).table_file(_SELECT, _parameters(job), sheet, "csv")


def _parameters(job: LoadJob) -> dict[str, Any]:
    return {"load_id": job.pk, "attempt": job.claims, "table_name": job.table}
