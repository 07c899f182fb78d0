"""What AVESA decides differently from django-allauth."""

import ipaddress
import logging
from smtplib import SMTPException
from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import ratelimit
from allauth.core.exceptions import ImmediateHttpResponse
from anymail.exceptions import AnymailError
from django.conf import settings
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from common.messages import send_after_commit
from tenants.accounts import throttling
from tenants.accounts.browsers import browser_name
from tenants.accounts.passwords import TooManyHashes, admission
from tenants.auth import TenantsBackend
from tenants.models import User

log = logging.getLogger(__name__)

UNKNOWN_ADDRESS = "0.0.0.0"  # noqa: S104 (no socket listens there)
_WRONG = "Wrong user name or password. Both are case-sensitive."

_WAYS = {
    "reauthenticate": "with your password",
    "mfa_reauthenticate": "with a code",
    "mfa_reauthenticate:webauthn": "with a passkey",
}


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc] # allauth is untyped
    error_messages = DefaultAccountAdapter.error_messages | {
        "username_password_mismatch": _WRONG,
        "email_password_mismatch": _WRONG,
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """The client's address, behind TRUSTED_PROXIES proxies; always one that can be stored."""
        try:
            return str(ipaddress.ip_address(super().get_client_ip(request)))
        except (ValueError, PermissionDenied):
            return UNKNOWN_ADDRESS

    # --- Passwords: every check is limited, also that of an open session

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Count an attempt that has not succeeded yet; 429 if there were too many."""
        try:
            if not ratelimit.consume(request, action="password"):
                raise self.validation_error("too_many_login_attempts")
            super().pre_authenticate(request, **credentials)
        except ValidationError:
            if throttling.counts_can_be_kept():
                response = throttling.too_many_requests(request, throttling.FAILED_SECONDS)
                raise ImmediateHttpResponse(response) from None

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        with admission():
            try:
                user: User | None = super().authenticate(request, **credentials)
            except TooManyHashes:
                self._rollback_login_failed_rl_usage()
                raise
        return user

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        login = credentials.get("username") or credentials.get("email") or ""
        return throttling.allowance_of(request, login)

    def get_reauthentication_methods(self, user: User) -> list[dict[str, Any]]:
        methods: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        return [each | {"description": _WAYS[each["id"]]} for each in methods]

    # --- Logins

    def pre_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse | None:
        """Also refuse those whose tenants are all suspended, by whichever way they log in."""
        if not TenantsBackend().user_can_authenticate(user):
            refusal: HttpResponse = self.respond_user_inactive(request, user)
            return refusal
        response: HttpResponse | None = super().pre_login(request, user, **kwargs)
        return response

    def post_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse:
        """Notify the person if the browser is new for the account."""
        response: HttpResponse = super().post_login(request, user, **kwargs)
        if not throttling.known_browser(request, user):
            send_after_commit(
                "tenants.tasks.mail_new_login",
                user.pk,
                timezone.now().isoformat(timespec="minutes"),
                self.get_client_ip(request),
                self.get_http_user_agent(request),
                expires=86_400,
            )
        throttling.remember_browser(request, response, user)
        return response

    def get_http_user_agent(self, request: HttpRequest) -> str:
        """For mails: the short name of the browser."""
        return browser_name(request.headers.get("User-Agent", ""))

    # --- Mails

    def format_email_subject(self, subject: str) -> str:
        return f"{settings.EMAIL_SUBJECT_PREFIX}{subject}"

    def get_reset_password_from_key_url(self, key: str) -> str:
        return _at_this_site(super().get_reset_password_from_key_url(key))

    def get_email_confirmation_url(self, request: HttpRequest, emailconfirmation: Any) -> str:
        return _at_this_site(super().get_email_confirmation_url(request, emailconfirmation))

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """A mail server that is down must not undo or reveal what the mail is about."""
        try:
            super().send_mail(template_prefix, email, context | {"site_url": settings.SITE_URL})
        except (OSError, SMTPException, AnymailError) as error:
            log.error("a mail about an account was not sent (%s): %s", template_prefix, error)

    def add_message(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        """No messages: only the admin shows them, and there they would come too late."""


def _at_this_site(url: str) -> str:
    """`url` at SITE_URL: the host of a request may be made up by who sends it."""
    return f"{settings.SITE_URL.rstrip('/')}{urlsplit(url).path}"
