"""What probes ask. Answers name parts and seconds, never hosts or reasons: anybody may ask.

`live`: this process answers. `ready`: it can serve, which takes the application database alone:
with the broker or the warehouse away pages say so themselves, and taking all web processes out
would help nobody. `workers`: beat and the workers showed lately that they work; for monitoring.
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
        return JsonResponse({"ready": False, "database": "away"}, status=503)
    return JsonResponse({"ready": True, "database": "well"})


def signs() -> dict[str, int | None]:
    """Seconds since the last sign of each process; None if there never was one."""
    ages = {each.name: round(each.age.total_seconds()) for each in Heartbeat.objects.all()}
    return {name: ages.get(name) for name in PROCESSES}


def watch(name: str) -> bool:
    """Raise an alert if a process is silent, end it if it is not; returns whether it is well.

    Beat watches the workers and they watch beat, since a silent process cannot tell of itself.
    """
    age = signs()[name]
    if age is not None and age <= MAX_SIGNAL_AGE:
        alerting.all_clear(Alert.Kind.SILENT, None, name)
        return True
    since = "never" if age is None else f"not for {age} seconds"
    alerting.raise_alert(
        Alert.Kind.SILENT,
        None,
        name,
        f"The {name} has {since} shown that it works. See whether it runs and reaches the broker "
        "and the database.",
    )
    alerting.send_pending([Alert.Kind.SILENT])  # which takes both processes otherwise
    return False


@require_safe
@never_cache
def workers(request: HttpRequest) -> JsonResponse:
    """Seconds since the last sign of each; null if there never was one."""
    try:
        found = signs()
    except DatabaseError:
        return JsonResponse({"working": False, "database": "away"}, status=503)
    working = all(age is not None and age <= MAX_SIGNAL_AGE for age in found.values())
    return JsonResponse({"working": working, **found}, status=200 if working else 503)


urlpatterns = [
    path("live/", live, name="live"),
    path("ready/", ready, name="ready"),
    path("workers/", workers, name="workers"),
]
