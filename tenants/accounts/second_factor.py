"""Two-factor login: who must have a second factor, and how its secrets are stored."""

import base64
from collections.abc import Callable
from typing import Any

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.crypto import salted_hmac

from tenants.models import Membership, User

# The pages on which a second factor is set up, and those that everyone may open.
OPEN_PREFIXES = ("account_", "mfa_", "sessions", "profile", "health")
_FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)


def is_demanded(user: User) -> bool:
    """Whether `user` may use AVESA only with a second factor."""
    if user.is_staff and settings.STAFF_SECOND_FACTOR:
        return True
    memberships = Membership.objects.filter(user=user, tenant__is_active=True)
    return bool(memberships.filter(tenant__demands_second_factor=True).exists())


def has_second_factor(user: User) -> bool:
    return bool(Authenticator.objects.filter(user=user, type__in=_FACTORS).exists())


class DemandSecondFactor:
    """Middleware: who must have a second factor and has none can only set one up."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_view(self, request: HttpRequest, *args: Any) -> HttpResponse | None:
        match, user = request.resolver_match, request.user
        if not isinstance(user, User) or match is None:
            return None
        if (match.url_name or "").startswith(OPEN_PREFIXES) and not match.app_names:
            return None
        if is_demanded(user) and not has_second_factor(user):
            return redirect("mfa_index")
        return None


class MfaAdapter(DefaultMFAAdapter):  # type: ignore[misc] # allauth is untyped
    """Secrets are encrypted, so that a copy of the database does not open accounts."""

    error_messages = DefaultMFAAdapter.error_messages | {
        "incorrect_code": "This code is not valid. Codes of an app change every 30 seconds, and "
        "each recovery code works once.",
    }

    def encrypt(self, text: str) -> str:
        return _ciphers().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return _ciphers().decrypt(encrypted_text.encode()).decode()

    def generate_authenticator_name(self, user: User, type: Authenticator.Type) -> str:
        return f"Passkey {Authenticator.objects.filter(user=user, type=type).count() + 1}"

    def _get_site_name(self) -> str:
        return "AVESA"


def _ciphers() -> MultiFernet:
    """The first encrypts; all decrypt, so that SECRET_KEY can be changed."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    digests = (
        salted_hmac("tenants.accounts.second_factor", "key", key, algorithm="sha256").digest()
        for key in keys
    )
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])
