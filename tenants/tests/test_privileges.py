"""Staff cannot gain rights in the admin: not for themselves, not through others or groups."""

import pytest
from django.contrib.auth.models import Group, Permission
from django.urls import reverse

from tenants.models import Membership, User

pytestmark = pytest.mark.django_db

MANAGES_USERS = ("view_user", "add_user", "change_user", "delete_user")


def permissions(*names):
    return Permission.objects.filter(codename__in=names)


def staff(name, *names):
    user = User.objects.create_user(name, f"{name}@example.com", "pass", is_staff=True)
    user.user_permissions.set(permissions(*names))
    return user


@pytest.fixture
def clerk(client):
    """Staff who manages users, logged in."""
    user = staff("clerk", *MANAGES_USERS)
    client.force_login(user)
    return user


def url(kind, user):
    return reverse(f"admin:tenants_user_{kind}", args=[user.pk])


def password_url(user):
    return f"/admin/tenants/user/{user.pk}/password/"


def sent(user, **changed):
    """What the form of a user sends, with `changed`."""
    return {
        "username": user.username,
        "is_active": "on",
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00:00",
        "memberships-TOTAL_FORMS": 0,
        "memberships-INITIAL_FORMS": 0,
    } | changed


def change(client, user, **changed):
    answer = client.post(url("change", user), sent(user, **changed))
    user.refresh_from_db()
    return answer


def test_staff_cannot_make_themselves_superuser(client, clerk):
    assert change(client, clerk, is_superuser="on", is_staff="on").status_code == 302
    assert not clerk.is_superuser
    assert clerk.is_staff


def test_staff_cannot_make_others_staff_or_superuser(client, clerk):
    other = User.objects.create_user("other")
    assert change(client, other, is_superuser="on", is_staff="on").status_code == 302
    assert not other.is_superuser
    assert not other.is_staff


def test_staff_can_still_manage_users_without_more_rights(client, clerk):
    other = User.objects.create_user("other")
    assert change(client, other, first_name="Otto").status_code == 302
    assert other.first_name == "Otto"
    passwords = {"password1": "a-long-enough-one", "password2": "a-long-enough-one"}
    passwords |= {"usable_password": "true"}
    assert client.post(password_url(other), passwords).status_code == 302
    assert client.post(url("delete", other), {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=other.pk).exists()


def test_staff_create_users_without_rights(client, clerk):
    form = {"username": "new", "password1": "a-long-enough-one", "password2": "a-long-enough-one"}
    form |= {"usable_password": "true", "is_superuser": "on", "is_staff": "on"}
    form |= {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
    assert client.post(reverse("admin:tenants_user_add"), form).status_code == 302
    new = User.objects.get(username="new")
    assert not new.is_superuser
    assert not new.is_staff


def test_only_held_permissions_can_be_granted(client, clerk):
    view, run = permissions("view_user").get(), permissions("run_loadjob").get()
    answer = change(client, clerk, user_permissions=[view.pk, run.pk])
    assert answer.status_code == 200
    assert "is not one of the available choices" in answer.content.decode()
    assert clerk.user_permissions.count() == len(MANAGES_USERS)
    assert change(client, clerk, user_permissions=[view.pk]).status_code == 302
    assert clerk.user_permissions.get() == view


def test_only_groups_with_held_permissions_can_be_granted(client, clerk):
    mine, more = Group.objects.create(name="mine"), Group.objects.create(name="more")
    mine.permissions.set(permissions("view_user"))
    more.permissions.set(permissions("view_user", "repair_history"))
    assert change(client, clerk, groups=[more.pk]).status_code == 200
    assert not clerk.groups.exists()
    held = [each.pk for each in clerk.user_permissions.all()]
    assert change(client, clerk, groups=[mine.pk], user_permissions=held).status_code == 302
    assert clerk.groups.get() == mine


def privileged(kind, acme):
    """An account with rights that the clerk lacks."""
    if kind == "superuser":
        return User.objects.create_superuser("root")
    if kind == "inactive superuser":
        return User.objects.create_superuser("root", is_active=False)
    if kind == "more permissions":
        return staff("boss", "run_loadjob")
    if kind == "inactive":
        boss = staff("boss", "run_loadjob")
        User.objects.filter(pk=boss.pk).update(is_active=False)
        return boss
    boss = staff("boss")
    if kind == "a group":
        group = Group.objects.create(name="loaders")
        group.permissions.set(permissions("run_loadjob"))
        boss.groups.add(group)
    else:
        Membership.objects.create(user=boss, tenant=acme)
    return boss


KINDS = ["superuser", "inactive superuser", "more permissions", "inactive", "a group", "membership"]


@pytest.mark.parametrize("kind", KINDS)
def test_accounts_with_more_rights_are_closed(client, clerk, acme, kind):
    boss = privileged(kind, acme)
    before = boss.password
    passwords = {"password1": "a-long-enough-one", "password2": "a-long-enough-one"}
    assert client.get(password_url(boss)).status_code == 403
    answer = client.post(password_url(boss), passwords | {"usable_password": "true"})
    assert answer.status_code == 403
    assert change(client, boss, email="eve@example.com").status_code == 403
    assert client.post(url("delete", boss), {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [boss.pk], "post": "yes"}
    client.post(reverse("admin:tenants_user_changelist"), chosen)
    boss.refresh_from_db()
    assert boss.password == before
    assert boss.email != "eve@example.com"
    assert client.get(url("change", boss)).status_code == 200, "may view users"
    clerk.user_permissions.remove(*permissions("view_user"))
    assert client.get(url("change", boss)).status_code == 403


def test_who_may_grant_memberships_manages_members_too(client, clerk, alice, acme):
    assert client.get(password_url(alice)).status_code == 403
    clerk.user_permissions.add(*permissions("add_membership"))
    assert client.get(password_url(alice)).status_code == 200


def test_an_admin_of_a_tenant_manages_its_members(client, clerk, bob, acme):
    membership = Membership.objects.create(user=clerk, tenant=acme)
    assert client.get(password_url(bob)).status_code == 403, "a viewer does not"
    membership.role = Membership.Role.ADMIN
    membership.save()
    assert client.get(password_url(bob)).status_code == 200


def test_superusers_do_all_of_it(client, dora):
    client.force_login(dora)
    boss = User.objects.create_superuser("root")
    assert client.get(password_url(boss)).status_code == 200
    other = User.objects.create_user("other")
    run = permissions("run_loadjob").get()
    change(client, other, is_staff="on", is_superuser="on", user_permissions=[run.pk])
    assert other.is_staff
    assert other.is_superuser
    assert other.user_permissions.get() == run


# --- Groups: adding a permission to one's own group would be a way, too


@pytest.fixture
def group_clerk(client):
    user = staff("clerk", "view_group", "add_group", "change_group", "delete_group")
    client.force_login(user)
    return user


def group_url(kind, group):
    return reverse(f"admin:auth_group_{kind}", args=[group.pk])


def test_groups_get_only_permissions_that_the_user_holds(client, group_clerk):
    mine = Group.objects.create(name="mine")
    mine.permissions.set(permissions("view_group"))
    group_clerk.groups.add(mine)
    run = permissions("run_loadjob").get()
    form = {"name": "mine", "permissions": [run.pk]}
    assert client.post(group_url("change", mine), form).status_code == 200
    assert mine.permissions.get().codename == "view_group"
    assert client.post(reverse("admin:auth_group_add"), form | {"name": "b"}).status_code == 200
    assert not Group.objects.filter(name="b").exists()
    form["permissions"] = [permissions("change_group").get().pk]
    assert client.post(group_url("change", mine), form).status_code == 302


def test_groups_with_more_permissions_are_closed(client, group_clerk):
    more = Group.objects.create(name="more")
    more.permissions.set(permissions("run_loadjob"))
    assert client.post(group_url("change", more), {"name": "x"}).status_code == 403
    assert client.post(group_url("delete", more), {"post": "yes"}).status_code == 403
    assert Group.objects.get().name == "more"
