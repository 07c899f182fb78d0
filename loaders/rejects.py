"""The values that kept rows out of a load."""

from typing import Any

from analytics.warehouse.reader import TenantReader

from .models import LoadJob

REJECTS_SHOWN = 500

_SELECT = """
SELECT source_file, source_row, column_name, value, reason
FROM load_rejects_of(tenant_id = {tenant_id:String})
WHERE load_id = {load_id:UInt64} AND attempt = {attempt:UInt32} AND table_name = {table_name:String}
ORDER BY source_file, source_row, column_name
LIMIT {limit:UInt64}
"""


def rejects_of(job: LoadJob, limit: int = REJECTS_SHOWN) -> list[dict[str, Any]]:
    """The first `limit` rejects of a job, by file and row."""
    parameters = {
        "load_id": job.pk,
        "attempt": job.attempt,
        "table_name": job.table,
        "limit": limit,
    }
    return TenantReader(job.tenant).select(_SELECT, parameters).dicts()
