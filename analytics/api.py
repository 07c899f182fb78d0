"""The JSON API: the specification's routes, for sessions and for tenants' bearer tokens."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from ninja import Field, NinjaAPI, Schema
from ninja.decorators import decorate_view
from ninja.errors import AuthenticationError, ValidationError
from ninja.params.functions import Query
from ninja.security import HttpBearer, SessionAuth

from analytics.metrics import run_metric
from analytics.periods import PeriodError, between, last_days
from analytics.warehouse.errors import WarehouseError
from tenants.access import TenantNotFound, access_tenant, tenant_of_token
from tenants.models import Tenant, User

MAX_TREND_DAYS = 366


class TokenAuth(HttpBearer):
    """A tenant's token, in the Authorization header."""

    def authenticate(self, request: HttpRequest, token: str) -> Tenant | None:
        return tenant_of_token(token)


class UserAuth(SessionAuth):
    """The session of somebody who is logged in."""

    def authenticate(self, request: HttpRequest, key: str | None) -> User | None:
        return request.user if isinstance(request.user, User) else None


class FieldProblem(Schema):
    field: str = Field(description="The parameter at fault.")
    message: str = Field(description="What is wrong with it.")


class BadRequest(Schema):
    detail: list[FieldProblem]


class Problem(Schema):
    detail: str


class CompanyAnalytics(Schema):
    """Companies of a period. Money is a JSON number, exact to 2 decimals up to 15 digits in all."""

    total_companies: int = Field(description="Companies valid at some time within the period.")
    active_companies: int = Field(description="Those that are marked active.")
    avg_employees: float | None = Field(description="Mean of the known numbers of employees.")
    total_revenue: float = Field(description="Sum of the annual revenues.")


class TicketTrend(Schema):
    """One day of the tenant's calendar."""

    date: date
    ticket_count: int = Field(description="Tickets created on this day.")
    closed_count: int = Field(description="Tickets closed on this day.")
    avg_hours: float | None = Field(description="Mean actual hours of those closed.")


ERRORS: dict[int, Any] = {400: BadRequest, 401: Problem, 404: Problem, 503: Problem}

api = NinjaAPI(
    title="AVESA",
    version="1",
    description=(
        "A tenant's figures. Call it with a session, or with a tenant's bearer token. "
        "Days are those of the tenant's time zone."
    ),
    auth=[TokenAuth(), UserAuth()],
    docs_url=None,
)


@api.get(
    "/companies/analytics/{tenant_id}",
    response={200: CompanyAnalytics, **ERRORS},
    summary="Companies of a period",
    tags=["companies"],
)
@decorate_view(never_cache)
def company_analytics(
    request: HttpRequest,
    tenant_id: str,
    startDate: str = Query(  # noqa: N803 (the specification's name)
        "", description="First day, as 2026-03-01; 30 days before the last if not given."
    ),
    endDate: str = Query(  # noqa: N803
        "", description="Last day, which is included; today if not given."
    ),
) -> dict[str, Any]:
    tenant = _tenant(request, tenant_id)
    period = between(startDate, endDate, tenant.zone, timezone.now(), ("startDate", "endDate"))
    return run_metric(tenant, "company_analytics", period).rows[0]


@api.get(
    "/tickets/trends/{tenant_id}",
    response={200: list[TicketTrend], **ERRORS},
    summary="Tickets opened and closed per day",
    tags=["tickets"],
)
@decorate_view(never_cache)
def ticket_trends(
    request: HttpRequest,
    tenant_id: str,
    period: int = Query(
        30, ge=1, le=MAX_TREND_DAYS, description="How many days, the last being today."
    ),
) -> list[dict[str, Any]]:
    tenant = _tenant(request, tenant_id)
    days = last_days(period, tenant.zone, timezone.now())
    return run_metric(tenant, "ticket_trends", days).rows


def _tenant(request: HttpRequest, tenant_id: str) -> Tenant:
    """The tenant, if it is the token's own or one of the user's. TenantNotFound otherwise."""
    caller = request.auth  # type: ignore[attr-defined] # ninja sets what authenticate returned
    if isinstance(caller, User):
        return access_tenant(caller, tenant_id)
    if isinstance(caller, Tenant) and caller.id == tenant_id:
        return caller
    raise TenantNotFound


# --- Errors


@api.exception_handler(PeriodError)
def _bad_period(request: HttpRequest, error: PeriodError) -> HttpResponse:
    return _bad_request(request, {error.field: error.message})


@api.exception_handler(ValidationError)
def _bad_parameter(request: HttpRequest, error: ValidationError) -> HttpResponse:
    problems = {str(each["loc"][-1]): str(each["msg"]) for each in error.errors}
    return _bad_request(request, problems)


def _bad_request(request: HttpRequest, problems: Mapping[str, str]) -> HttpResponse:
    detail = [{"field": field, "message": message} for field, message in problems.items()]
    return api.create_response(request, {"detail": detail}, status=400)


@api.exception_handler(AuthenticationError)
def _no_credentials(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    response = api.create_response(
        request, {"detail": "Log in, or send a tenant's token as a bearer."}, status=401
    )
    response["WWW-Authenticate"] = "Bearer"
    return response


@api.exception_handler(TenantNotFound)
def _no_tenant(request: HttpRequest, error: TenantNotFound) -> HttpResponse:
    return api.create_response(request, {"detail": "No such tenant."}, status=404)


@api.exception_handler(WarehouseError)
def _no_warehouse(request: HttpRequest, error: WarehouseError) -> HttpResponse:
    # Its text is for administrators; a caller learns that trying again may help.
    detail = "The figures cannot be computed at the moment. Try again later."
    return api.create_response(request, {"detail": detail}, status=503)
