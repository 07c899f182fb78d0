"""Who may log in."""

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser

from tenants.access import is_locked_out
from tenants.models import User


class TenantsBackend(ModelBackend):
    """Names and passwords, as Django has them, except for people whose tenants are suspended.

    Asked at each request, so that a session that is open ends as well.
    """

    def user_can_authenticate(self, user: User | AnonymousUser | None) -> bool:
        may = super().user_can_authenticate(user)
        return may and isinstance(user, User) and not is_locked_out(user)
