"""Static files that browsers may cache."""

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from analytics.charts import bundle


@require_safe
@cache_control(public=True, max_age=31_536_000, immutable=True)
def vega_script(request: HttpRequest, version: str) -> HttpResponse:
    """The chart library; its version is in the address, so browsers may cache it forever."""
    if version != bundle.VERSION:
        raise Http404
    response = HttpResponse(bundle.script(), content_type="text/javascript; charset=utf-8")
    response["Content-Encoding"] = "gzip"
    return response
