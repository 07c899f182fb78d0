"""Health endpoints. They are public, so responses contain no host names and no error messages.

`live`: this process answers. `ready`: it can serve requests, for which it needs the application
database only. If the broker or the warehouse is down, pages show an error; removing every web
process from the load balancer would not help. `workers`: beat and the workers have written a
heartbeat recently; for monitoring.
"""

from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from common.models import MAX_SIGNAL_AGE, Heartbeat
from tenants import alerting
from tenants.models import Alert

PROCESSES = ("beat", "worker")


@require_safe
@never_cache
def live(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"live": True})


@require_safe
@never_cache
def ready(request: HttpRequest) -> JsonResponse:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return JsonResponse({"ready": False, "database": "unavailable"}, status=503)
    return JsonResponse({"ready": True, "database": "ok"})


def heartbeat_ages() -> dict[str, int | None]:
    """Seconds since the last heartbeat of each process; None if there never was one."""
    ages = {each.name: round(each.age.total_seconds()) for each in Heartbeat.objects.all()}
    return {name: ages.get(name) for name in PROCESSES}


def watch(name: str) -> bool:
    """Raise an alert if a process is silent, end the alert if not; returns whether it is alive.

    Beat watches the workers and the workers watch beat: a dead process cannot report itself.
    """
    age = heartbeat_ages()[name]
    if age is not None and age <= MAX_SIGNAL_AGE:
        alerting.all_clear(Alert.Kind.SILENT, None, name)
        return True
    since = "never sent a heartbeat" if age is None else f"sent no heartbeat for {age} seconds"
    alerting.raise_alert(
        Alert.Kind.SILENT,
        None,
        name,
        f"The {name} has {since}. Check that it is running and can reach the broker and the "
        "database.",
    )
    alerting.send_pending([Alert.Kind.SILENT])  # usually beat and a worker do this together
    return False


@require_safe
@never_cache
def workers(request: HttpRequest) -> JsonResponse:
    """Seconds since the last heartbeat of each process; null if there never was one."""
    try:
        found = heartbeat_ages()
    except DatabaseError:
        return JsonResponse({"working": False, "database": "unavailable"}, status=503)
    working = all(age is not None and age <= MAX_SIGNAL_AGE for age in found.values())
    return JsonResponse({"working": working, **found}, status=200 if working else 503)


urlpatterns = [
    path("live/", live, name="live"),
    path("ready/", ready, name="ready"),
    path("workers/", workers, name="workers"),
]
