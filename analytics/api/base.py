"""Authentication and error responses (RFC 9457) of the API."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Field, NinjaAPI, Schema
from ninja.errors import AuthenticationError, ValidationError
from ninja.security import HttpBearer, SessionAuth

from analytics.metrics.query import QueryError
from analytics.periods import PeriodError
from analytics.records.history import RecordNotFound
from analytics.records.listing import ListingError
from analytics.warehouse.errors import (
    OutOfMemory,
    QueryTimeout,
    Unanswered,
    WarehouseBusy,
    WarehouseError,
)
from common import limits
from common.limits import TooManyRequests
from tenants.access import TenantNotFound, access_tenant, tenant_of_token
from tenants.models import Tenant, User

PROBLEM_TYPE = "application/problem+json"


class TokenAuth(HttpBearer):
    """A tenant's token, in the Authorization header."""

    def authenticate(self, request: HttpRequest, token: str) -> Tenant | None:
        return tenant_of_token(token)


class UserAuth(SessionAuth):
    """The session of a user who is logged in."""

    def authenticate(self, request: HttpRequest, key: str | None) -> User | None:
        return request.user if isinstance(request.user, User) else None


class FieldProblem(Schema):
    field: str = Field(description="The invalid parameter.")
    message: str = Field(description="What is wrong with it.")


class Problem(Schema):
    """An error, as application/problem+json (RFC 9457)."""

    type: str = Field(description="Always about:blank; see title and status.")
    title: str
    status: int
    detail: str = Field(description="What went wrong and what to do, for people.")
    errors: list[FieldProblem] = Field([], description="The invalid parameters, if any.")


class NotFound(LookupError):
    """Something does not exist; the message names it."""


ERRORS: dict[int, Any] = {
    400: Problem,
    401: Problem,
    404: Problem,
    429: Problem,
    503: Problem,
}


class Api(NinjaAPI):
    def get_openapi_schema(self, *args: Any, **options: Any) -> Any:
        """Ninja's document, with the content type that errors really have."""
        document = super().get_openapi_schema(*args, **options)
        for path in document["paths"].values():
            for operation in path.values():
                for status, answer in operation["responses"].items():
                    if int(status) >= HTTPStatus.BAD_REQUEST and "content" in answer:
                        answer["content"] = {PROBLEM_TYPE: answer["content"]["application/json"]}
        return document


api = Api(
    title="AVESA",
    version="1",
    description=(
        "A tenant's figures and records. Log in, or send a tenant's bearer token. "
        "Dates are in the tenant's time zone, timestamps in UTC. Errors are problem details "
        "(RFC 9457)."
    ),
    auth=[TokenAuth(), UserAuth()],
    docs_url=None,
)


def tenant_of(request: HttpRequest, tenant_id: str) -> Tenant:
    """The tenant, if the token or the user has access to it; else raises TenantNotFound.

    Counts the request. Raises TooManyRequests.
    """
    caller = request.auth  # type: ignore[attr-defined] # ninja sets what authenticate returned
    if isinstance(caller, User):
        tenant = access_tenant(caller, tenant_id)
    elif isinstance(caller, Tenant) and caller.id == tenant_id:
        tenant = caller
    else:
        raise TenantNotFound
    name = f"user-{caller.pk}" if isinstance(caller, User) else "tokens"
    limits.take(request, "api", tenant.id, name)
    return tenant


def problem(status: int, detail: str, errors: Mapping[str, str] | None = None) -> HttpResponse:
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "errors": [{"field": field, "message": text} for field, text in (errors or {}).items()],
    }
    response = HttpResponse(json.dumps(body), content_type=PROBLEM_TYPE, status=status)
    response["Cache-Control"] = "no-store"
    return response


@api.exception_handler(PeriodError)
@api.exception_handler(ListingError)
@api.exception_handler(QueryError)
def _bad_value(
    request: HttpRequest, error: PeriodError | ListingError | QueryError
) -> HttpResponse:
    return problem(400, f"{error.field}: {error.message}", {error.field: error.message})


@api.exception_handler(ValidationError)
def _bad_parameter(request: HttpRequest, error: ValidationError) -> HttpResponse:
    # An item of a list is named by its list.
    names = [[part for part in each["loc"] if isinstance(part, str)] for each in error.errors]
    errors = {name[-1]: str(each["msg"]) for name, each in zip(names, error.errors, strict=True)}
    return problem(400, "A parameter is invalid.", errors)


@api.exception_handler(AuthenticationError)
def _no_credentials(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    response = problem(401, "Log in, or send a tenant's bearer token.")
    response["WWW-Authenticate"] = "Bearer"
    return response


@api.exception_handler(TenantNotFound)
def _no_tenant(request: HttpRequest, error: TenantNotFound) -> HttpResponse:
    return problem(404, "No such tenant.")


@api.exception_handler(RecordNotFound)
def _no_record(request: HttpRequest, error: RecordNotFound) -> HttpResponse:
    return problem(404, "No such record.")


@api.exception_handler(NotFound)
def _nothing(request: HttpRequest, error: NotFound) -> HttpResponse:
    return problem(404, str(error))


@api.exception_handler(TooManyRequests)
def _too_many(request: HttpRequest, error: TooManyRequests) -> HttpResponse:
    response = problem(429, f"Too many requests. Wait {error.retry_after} seconds, then try again.")
    response["Retry-After"] = str(error.retry_after)
    return response


@api.exception_handler(WarehouseBusy)
def _busy(request: HttpRequest, error: WarehouseBusy) -> HttpResponse:
    return _too_many(request, TooManyRequests(limits.BUSY_SECONDS))


@api.exception_handler(QueryTimeout)
@api.exception_handler(OutOfMemory)
def _too_much(request: HttpRequest, error: QueryTimeout | OutOfMemory) -> HttpResponse:
    return problem(503, "This takes too long. Choose a shorter period, or ask for less at once.")


@api.exception_handler(Unanswered)
@api.exception_handler(WarehouseError)
def _no_warehouse(request: HttpRequest, error: WarehouseError) -> HttpResponse:
    # The error's own text is for administrators only.
    return problem(503, "The figures are not available right now. Try again later.")
