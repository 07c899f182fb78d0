"""The times at which full refreshes closed keys: the only gaps in history that are no fault."""

from datetime import datetime

from loaders.models import LoadJob
from loaders.staging.scratch_tables import instant


def note_closing(job: LoadJob, moment: datetime) -> None:
    """Record when a refresh closes keys, before it is published. The record is never deleted."""
    earlier = LoadJob.objects.values_list("closings", flat=True).get(pk=job.pk)
    LoadJob.objects.filter(pk=job.pk).update(closings=[*earlier, instant(moment)])


def closings_of(tenant_id: str, table: str) -> list[str]:
    """The times at which full refreshes closed keys of a tenant's table, in order."""
    jobs = LoadJob.objects.filter(tenant_id=tenant_id, table=table).exclude(closings=[])
    closings = jobs.values_list("closings", flat=True)
    return sorted({moment for of_job in closings for moment in of_job})
