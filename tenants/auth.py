"""The authentication backend."""

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser

from tenants.access import is_locked_out
from tenants.models import User


class TenantsBackend(ModelBackend):
    """Django's login, but users whose tenants are all suspended are refused.

    Checked for each request, so that open sessions end as well.
    """

    def user_can_authenticate(self, user: User | AnonymousUser | None) -> bool:
        may = super().user_can_authenticate(user)
        return may and isinstance(user, User) and not is_locked_out(user)
