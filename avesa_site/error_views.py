"""What people and programs get where there is no page, or a fault of ours."""

from django.http import HttpRequest, HttpResponse
from django.views import defaults

from analytics.api.base import problem

API = "/api/"


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith(API):
        return problem(404, "There is nothing here.")
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    if request.path.startswith(API):
        return problem(500, "The fault is ours and it is in our log. Try again in a moment.")
    return defaults.server_error(request)
