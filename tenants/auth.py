"""The authentication backend: whose account a login names, and whether it may be used."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest

from tenants.access import is_locked_out
from tenants.models import User


def account_of(login: str) -> User | None:
    """The account with this user name, or else the only one with this mail address."""
    user = User.objects.filter(username=login).first()
    if user is not None or "@" not in login:
        return user
    found = User.objects.filter(email__iexact=login)[:2]
    return found[0] if len(found) == 1 else None


class TenantsBackend(ModelBackend):
    """Django's login by user name or mail address, but users whose tenants are all suspended are
    refused.

    Checked for each request, so that open sessions end as well.
    """

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **credentials: Any,
    ) -> User | None:
        """The user, or None. Every attempt costs one hash, also for accounts that do not exist."""
        if username is None or password is None:
            return None
        user = account_of(username)
        if user is None:
            User().set_password(password)
            return None
        is_right = user.check_password(password)
        return user if is_right and self.user_can_authenticate(user) else None

    def user_can_authenticate(self, user: User | AnonymousUser | None) -> bool:
        may = super().user_can_authenticate(user)
        return may and isinstance(user, User) and not is_locked_out(user)
