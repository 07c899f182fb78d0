"""Responses for unknown addresses (404) and for our own errors (500)."""

from django.http import HttpRequest, HttpResponse
from django.views import defaults

from analytics.api.base import problem

API = "/api/"


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith(API):
        return problem(404, "Not found.")
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    if request.path.startswith(API):
        return problem(
            500,
            "Something went wrong on our side, and the error was logged. Try again in a moment.",
        )
    return defaults.server_error(request)
