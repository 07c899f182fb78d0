"""Tasks of the whole site: the canary, and dashboards that are computed before they are opened."""

from celery import shared_task

from analytics.dashboards import warming
from common.messages import EXPIRES
from common.models import Heartbeat
from loaders.models import LoadJob
from tenants.access import active_tenants


@shared_task(expires=EXPIRES)
def canary() -> None:
    """Shows that workers run tasks."""
    Heartbeat.record("worker")


@shared_task(expires=EXPIRES)
def warm_dashboards(tenant_id: str) -> int:
    """Compute the dashboards that were opened lately, since a load has changed their data.

    Loads come first: while any waits or runs, it stops. The end of the last one starts it again.
    """
    tenant = active_tenants().filter(pk=tenant_id).first()
    return warming.warm(tenant, _no_load_is_due) if tenant else 0


def _no_load_is_due() -> bool:
    due = (LoadJob.State.QUEUED, LoadJob.State.RUNNING)
    return not LoadJob.objects.filter(state__in=due).exists()
