"""Pages for staff about the portal itself."""

from django.contrib import admin
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from analytics.dashboards.choices import NAME as CHOICES
from analytics.metrics import METRICS
from analytics.metrics.cache import hit_counts
from analytics.metrics.names import NAME as COMPANY_NAMES
from analytics.metrics.values import NAME as DIMENSION_VALUES


@require_safe
@never_cache
@permission_required("loaders.view_loadjob", raise_exception=True)
def query_cache(request: HttpRequest) -> HttpResponse:
    """Hits and misses of the query cache by metric, since the counters started."""
    titles = {name: metric.title for name, metric in METRICS.items()} | {
        CHOICES: "Values of filters",
        COMPANY_NAMES: "Names of companies",
        DIMENSION_VALUES: "Values of dimensions",
    }
    counts = hit_counts(list(titles))
    rows = [
        (titles[name], hits, misses, _rate(hits, misses)) for name, (hits, misses) in counts.items()
    ]
    hits = sum(hits for hits, _ in counts.values())
    misses = sum(misses for _, misses in counts.values())
    context = admin.site.each_context(request) | {
        "title": "Query cache",
        "rows": sorted(rows, key=lambda row: row[1] + row[2], reverse=True),
        "hits": hits,
        "misses": misses,
        "rate": _rate(hits, misses),
    }
    return render(request, "admin/query_cache.html", context)


def _rate(hits: int, misses: int) -> str:
    return f"{100 * hits / (hits + misses):.1f} %" if hits + misses else "–"
