"""Compaction keeps reads fast: it merges the patches of lightweight updates into the rows.

A flip (see merge.py) writes a patch, which every read applies until it is merged. Merging one
tenant's partition affects no other tenant, runs beside reads and loads, and does not change what
they see.
"""

from analytics.warehouse.catalog import Table
from analytics.warehouse.client import WarehouseClient
from analytics.warehouse.schema import placement
from analytics.warehouse.sql import literal
from tenants.models import Tenant

# A patch is stored in a partition of its own, named after the one that it patches.
_UNMERGED = """
SELECT countIf(NOT is_patch) > 1
    OR maxIf(data_version, is_patch) > minIf(data_version, NOT is_patch)
FROM (
    SELECT data_version, startsWith(partition_id, 'patch-') AS is_patch,
        arrayElement(splitByChar('-', partition_id), -1) AS of_partition
    FROM system.parts
    WHERE active AND database = {database:String} AND table = {table:String}
)
WHERE of_partition = (
    SELECT any(partition_id) FROM system.parts
    WHERE active AND database = {database:String} AND table = {table:String}
    AND partition = {tenant_id:String}
)
"""


# Invisible rows of crashed loads. Those of later loads may be about to be published.
_ORPHANED = (
    "tenant_id = {tenant_id:String} AND expiry_date < effective_date "
    "AND load_id <= {load_id:UInt64}"
)


def tidy(tenant: Tenant, table: Table, load_id: int) -> bool:
    """Delete orphaned rows of loads up to `load_id`, and merge rows and patches into one part.

    The load `load_id` must have ended. False if there was nothing to merge. Raises WarehouseError.
    """
    at, client = placement(), WarehouseClient()
    target = at.qualified(table.shared_name)
    parameters = {"tenant_id": tenant.id, "load_id": load_id}
    if client.value(f"SELECT count() FROM {target} WHERE {_ORPHANED}", parameters):
        # As an update it affects this tenant alone; as a mutation it would rewrite every tenant.
        client.run(
            f"DELETE FROM {target}{at.on_cluster} WHERE {_ORPHANED}",
            parameters,
            lightweight_delete_mode="lightweight_update_force",
        )
    names = {"database": at.database, "table": table.shared_name, "tenant_id": tenant.id}
    if not client.value(_UNMERGED, names):
        return False
    client.run(f"OPTIMIZE TABLE {target}{at.on_cluster} PARTITION {literal(tenant.id)} FINAL")
    return True
