"""Limits of login attempts, by account and by address, shared by all processes through the cache.

No one can lock a person out for good. A browser in which an account was logged in before has a
signed cookie and an allowance of its own, which the attempts of others do not use up.
"""

import logging
import secrets
from collections.abc import Callable

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from tenants.accounts.passwords import TooManyHashes
from tenants.auth import account_of
from tenants.models import User

log = logging.getLogger(__name__)

COOKIE = "known_browser"
COOKIE_SECONDS = 180 * 86_400
FAILED_SECONDS = 300  # the period of the limit by account
BUSY_SECONDS = 5
_SALT = "tenants.accounts.known_browser"


def too_many_requests(request: HttpRequest, seconds: int = 60) -> HttpResponse:
    """The page that asks to wait."""
    minutes = 0 if seconds < 60 else -(-seconds // 60)
    context = {"seconds": seconds, "minutes": minutes}
    response = render(request, "429.html", context, status=429)
    response["Retry-After"] = str(seconds)
    return response


class BusyWithPasswords:
    """Middleware: a request that would hash one password too many gets 429."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if isinstance(error, TooManyHashes):
            return too_many_requests(request, BUSY_SECONDS)
        return None


def allowance_of(request: HttpRequest, login: str) -> str:
    """The key under which failed attempts are counted: the account's, or that of a known browser.

    The name and the mail address of an account have one allowance. Unknown names have one, too, so
    that the answer does not show which names exist.
    """
    account = account_of(login)
    if account is None:
        return f"unknown:{login.lower()}"
    browser = known_browser(request, account)
    return f"browser:{browser}" if browser else f"account:{account.pk}"


def known_browser(request: HttpRequest, account: User) -> str:
    """The id that this browser got when `account` logged in, or an empty text."""
    value = request.get_signed_cookie(COOKIE, "", salt=_SALT, max_age=COOKIE_SECONDS)
    owner, _, browser = (value or "").partition(":")
    return browser if owner == str(account.pk) else ""


def remember_browser(request: HttpRequest, response: HttpResponse, account: User) -> None:
    browser = known_browser(request, account) or secrets.token_urlsafe(16)
    response.set_signed_cookie(
        COOKIE,
        f"{account.pk}:{browser}",
        salt=_SALT,
        max_age=COOKIE_SECONDS,
        secure=settings.HTTPS,
        httponly=True,
        samesite="Lax",
    )


def counts_can_be_kept() -> bool:
    """Whether the cache works. If it does not, people can log in, without these limits."""
    key = f"login-limits-{secrets.token_hex(4)}"
    cache.set(key, 1, 10)
    if cache.get(key) == 1:
        return True
    log.warning("login attempts are not limited, since the cache does not keep values")
    return False
