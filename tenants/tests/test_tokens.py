"""API tokens in the admin: who may issue them for whom, and that their secret is shown once."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.urls import reverse

from tenants.models import ApiToken, Membership, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def clerk(client):
    user = User.objects.create_user("clerk", is_staff=True)
    client.force_login(user)
    grant(user, "add_apitoken", "view_apitoken", "change_apitoken")
    return user


def grant(user, *names):
    user.user_permissions.add(*Permission.objects.filter(codename__in=names))


def issue(client, tenant):
    form = {"tenant": tenant.id, "name": "nightly export"}
    return client.post(reverse("admin:tenants_apitoken_add"), form)


def test_tokens_are_issued_only_for_tenants_of_the_user(client, clerk, acme, globex):
    Membership.objects.create(user=clerk, tenant=globex)
    answer = issue(client, acme)
    assert "is not one of the available choices" in answer.content.decode()
    assert acme.name not in client.get(reverse("admin:tenants_apitoken_add")).content.decode()
    assert not ApiToken.objects.exists()
    issue(client, globex)
    assert ApiToken.objects.get().tenant == globex


def test_a_permission_allows_tokens_for_every_tenant(client, clerk, acme):
    grant(clerk, "issue_any_apitoken")
    issue(client, acme)
    assert ApiToken.objects.get().tenant == acme


def test_the_secret_is_shown_once_and_kept_nowhere(client, clerk, acme):
    grant(clerk, "issue_any_apitoken")
    answer = issue(client, acme)
    token = ApiToken.objects.get()
    page = answer.content.decode()
    secret = page[page.index(token.hint) :].split("<")[0]
    assert ApiToken.digest_of(secret) == token.digest
    assert "no-store" in answer["Cache-Control"]
    assert not [each for each in client.cookies.values() if secret in each.value]
    assert "messages" not in client.cookies
    assert not [each for each in Session.objects.all() if secret in str(each.get_decoded())]
    assert secret not in client.get(reverse("admin:tenants_apitoken_changelist")).content.decode()


def test_issuing_and_revoking_leave_entries(client, clerk, acme):
    grant(clerk, "issue_any_apitoken")
    issue(client, acme)
    token = ApiToken.objects.get()
    revoked, _ = ApiToken.issue(acme, "older")
    for _ in range(2):
        client.post(
            reverse("admin:tenants_apitoken_changelist"),
            {"action": "revoke", "_selected_action": [token.pk, revoked.pk]},
        )
    entries = LogEntry.objects.filter(user=clerk).order_by("pk")
    assert [each.action_flag for each in entries] == [1, 2, 2]
    assert {each.object_id for each in entries[1:]} == {str(token.pk), str(revoked.pk)}
    assert entries[1].change_message == "Revoked."
