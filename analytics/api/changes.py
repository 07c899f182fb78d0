"""What changed: the parts that brought the change of a figure, and the reason in one sentence."""

from typing import Any

from django.http import HttpRequest
from django.views.decorators.cache import never_cache
from ninja import Field, Router, Schema
from ninja.decorators import decorate_view
from ninja.params.functions import Path, Query

from analytics.api.base import ERRORS, tenant_of
from analytics.api.records import plain
from analytics.api.v1 import ScopeIn, asked, metric_query
from analytics.dashboards.scope import Scope
from analytics.metrics import METRICS, freshness_of
from analytics.metrics.changes import contributions, explain_change
from analytics.templatetags.figures import change_sentence
from analytics.warehouse.catalog import TABLES

router = Router()


class ChangeOut(Schema):
    """What a part brought to the change. Of shares and ratios, the last two add up to `amount`."""

    values: list[str] = Field(description="One for each dimension; empty where records have none.")
    label: str
    figure: float | None
    previous: float | None
    amount: float
    from_rate: float | None = Field(description="From another share or ratio of the part itself.")
    from_weight: float | None = Field(description="From another weight of the part in the whole.")


class ChangesAnswer(Schema):
    """The change of a figure from the period that it is compared with."""

    figure: float | None
    previous: float | None
    sentence: str = Field(description="The change in words, with its reason; empty without one.")
    by: list[str]
    changes: list[ChangeOut] = Field(
        description="The largest first; they add up to the change. Empty for medians and "
        "percentiles, which are no sums."
    )


@router.get(
    "/{tenant_id}/metrics/{name}/changes",
    response={200: ChangesAnswer, **ERRORS},
    tags=["metrics"],
)
@decorate_view(never_cache)
def changes(
    request: HttpRequest,
    tenant_id: str,
    name: str = Path(..., enum=list(METRICS)),
    scope: ScopeIn = Query(...),  # noqa: B008 (how ninja declares parameters)
    by: list[str] = Query(  # noqa: B008
        [], description="One or two dimensions. Default: the metric's own breakdown, or company."
    ),
) -> dict[str, Any]:
    """What changed: which parts brought the change of a metric's figure."""
    tenant = tenant_of(request, tenant_id)
    metric = metric_query(name, ()).metric
    query = metric_query(name, by or metric.usual_breakdown)
    requested = Scope.of_query(tenant, asked(scope))
    result, reason = explain_change(
        tenant,
        query,
        requested.period,
        requested.as_of,
        requested.filters,
        freshness_of(tenant, TABLES),
    )
    return {
        "figure": plain(result.figure),
        "previous": plain(result.previous),
        "sentence": change_sentence(result, reason),
        "by": query.by,
        "changes": [
            {
                "values": each.part.values,
                "label": each.part.label,
                "figure": plain(each.part.figure),
                "previous": plain(each.part.previous),
                "amount": float(each.amount),
                "from_rate": None if each.rate is None else float(each.rate),
                "from_weight": None if each.mix is None else float(each.mix),
            }
            for each in contributions(result)
        ],
    }
