"""The instants at which full refreshes closed keys: the only ends that no version explains."""

from datetime import datetime

from loaders.models import LoadJob
from loaders.staging.scratch_tables import instant


def note_closing(job: LoadJob, moment: datetime) -> None:
    """Record at which instant a refresh closes keys, before readers see it; for good."""
    noted = LoadJob.objects.values_list("closings", flat=True).get(pk=job.pk)
    LoadJob.objects.filter(pk=job.pk).update(closings=[*noted, instant(moment)])


def closings_of(tenant_id: str, table: str) -> list[str]:
    """The instants at which full refreshes closed keys of a tenant's table."""
    jobs = LoadJob.objects.filter(tenant_id=tenant_id, table=table).exclude(closings=[])
    return sorted({moment for noted in jobs.values_list("closings", flat=True) for moment in noted})
