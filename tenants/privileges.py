"""Which rights staff may grant, and whose accounts they may change.

No member of staff can gain rights through the admin: what someone may grant, he holds, and an
account or group with more rights than his own is closed to him. Otherwise its password form, or a
permission added to its group, would be a way to these rights.
"""

from django.contrib.auth.models import Group, Permission
from django.db.models import Q, QuerySet

from tenants.access import tenants_of
from tenants.models import Membership, Tenant, User

ISSUE_ANY = "tenants.issue_any_apitoken"
GRANT_ACCESS = "tenants.add_membership"


def permissions_of(user: User) -> QuerySet[Permission]:
    """The permissions of `user`, own and from groups, active or not; all those of superusers."""
    if user.is_superuser:
        return Permission.objects.all()
    return Permission.objects.filter(Q(user=user) | Q(group__user=user)).distinct()


def grantable_groups(user: User) -> QuerySet[Group]:
    """The groups all of whose permissions `user` holds."""
    missing = Permission.objects.exclude(pk__in=permissions_of(user).values("pk"))
    return Group.objects.exclude(permissions__in=missing)


def may_manage(actor: User, account: User) -> bool:
    """Whether `account` has no right that `actor` lacks, so that he may change it.

    A membership counts as a right, too: who may grant memberships has all of them in reach, and
    everyone else only those of the tenants that he is an admin of.
    """
    if actor.is_superuser or actor.pk == account.pk:
        return True
    if account.is_superuser:
        return False
    held = permissions_of(actor).values("pk")
    if permissions_of(account).exclude(pk__in=held).exists():
        return False
    administered = actor.memberships.filter(role=Membership.Role.ADMIN).values("tenant")
    return (
        actor.has_perm(GRANT_ACCESS)
        or not account.memberships.exclude(tenant__in=administered).exists()
    )


def tenants_for_tokens(user: User) -> QuerySet[Tenant]:
    """The tenants for which `user` may issue API tokens, given the permission to add tokens.

    A token reads all that a member reads, so these are the tenants that he is a member of. Others
    take a permission of their own.
    """
    return Tenant.objects.all() if user.has_perm(ISSUE_ANY) else tenants_of(user)
