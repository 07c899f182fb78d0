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

from .models import Heartbeat

OLDEST_SIGN = 180  # seconds: of three canaries one may be lost


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


@require_safe
@never_cache
def workers(request: HttpRequest) -> JsonResponse:
    """Seconds since the last sign of each; null if there never was one."""
    try:
        ages = {each.name: round(each.age.total_seconds()) for each in Heartbeat.objects.all()}
    except DatabaseError:
        return JsonResponse({"working": False, "database": "away"}, status=503)
    signs = {name: ages.get(name) for name in ("beat", "worker")}
    working = all(age is not None and age <= OLDEST_SIGN for age in signs.values())
    return JsonResponse({"working": working, **signs}, status=200 if working else 503)


urlpatterns = [
    path("live/", live, name="live"),
    path("ready/", ready, name="ready"),
    path("workers/", workers, name="workers"),
]
