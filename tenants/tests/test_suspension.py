"""Users whose tenants are all suspended cannot log in; all others can."""

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from tenants.models import Membership, Tenant

pytestmark = pytest.mark.django_db


def may_log_in(client, name):
    client.logout()
    client.post(reverse("account_login"), {"username": name, "password": "pass"})
    return "_auth_user_id" in client.session


def test_members_of_a_suspended_tenant_cannot_log_in(client, acme, alice, bob):
    assert may_log_in(client, "alice")
    Tenant.objects.filter(pk=acme.pk).update(is_active=False)
    assert not may_log_in(client, "alice")
    assert not may_log_in(client, "bob")
    Tenant.objects.filter(pk=acme.pk).update(is_active=True)
    assert may_log_in(client, "alice")


def test_open_sessions_end(client, acme, alice):
    client.force_login(alice)
    assert client.get("/", follow=False).status_code == 302
    Tenant.objects.filter(pk=acme.pk).update(is_active=False)
    assert client.get("/").url.startswith(reverse("account_login"))


def test_members_of_another_tenant_staff_and_newcomers_can(
    client, acme, globex, alice, dora, django_user_model
):
    Membership.objects.create(user=alice, tenant=globex)
    Membership.objects.create(user=dora, tenant=acme)
    django_user_model.objects.create_user("newcomer", password="pass")
    Tenant.objects.filter(pk=acme.pk).update(is_active=False)
    assert [may_log_in(client, name) for name in ("alice", "dora", "newcomer")] == [True] * 3


def test_the_tenants_history_records_suspensions(client, acme, globex, dora):
    client.force_login(dora)
    for action in ("suspend", "suspend", "resume"):
        chosen = {"action": action, "_selected_action": [acme.pk]}
        client.post(reverse("admin:tenants_tenant_changelist"), chosen)
    entries = LogEntry.objects.order_by("action_time").values_list("object_id", "change_message")
    assert list(entries) == [(acme.id, "Suspended."), (acme.id, "Suspension ended.")]


def test_staff_suspend_and_resume_from_the_list(client, acme, globex, dora):
    client.force_login(dora)
    url = reverse("admin:tenants_tenant_changelist")
    for action, is_active in (("suspend", False), ("resume", True)):
        chosen = {"action": action, "_selected_action": [acme.pk]}
        page = client.post(url, chosen, follow=True).content.decode()
        acme.refresh_from_db()
        globex.refresh_from_db()
        assert (acme.is_active, globex.is_active) == (is_active, True)
        assert ("1 suspended" in page) is not is_active
