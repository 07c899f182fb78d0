"""What people do with their own accounts: passwords, second factors, sessions, mail address."""

import re
import time

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.contrib.admin.models import LogEntry
from django.core import mail
from django.test import Client
from django.urls import reverse

from tenants import tasks
from tenants.accounts import urls as account_urls
from tenants.models import User

pytestmark = pytest.mark.django_db
NEW = "correct horse battery"


def log_in(client, user, password="pass", **more):
    client.post(reverse("account_login"), {"username": user.username, "password": password}, **more)
    return is_in(client)


def is_in(client):
    return "_auth_user_id" in client.session


def link_in(message):
    return re.search(r"http://127.0.0.1:8000(/account/\S+)", message.body)[1]


def code_of(secret, steps=0):
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30 + steps))


def confirm(client, page, password="pass"):
    """Enter the password again, as changes of the account demand."""
    assert "needs your password again" in page.content.decode()
    return client.post(page.redirect_chain[-1][0], {"password": password}, follow=True)


def set_up_app(client, password="pass"):
    """Turn on an authenticator app; returns its secret and the recovery codes."""
    page = confirm(client, client.get(reverse("mfa_activate_totp"), follow=True), password)
    secret = re.search(r"<code>(\w+)</code>", page.content.decode())[1]
    page = client.post(reverse("mfa_activate_totp"), {"code": code_of(secret)}, follow=True)
    return secret, re.findall(r"<code>(\d+)</code>", page.content.decode())


# --- Passwords


def test_a_forgotten_password_is_set_anew_by_mail(client, alice):
    elsewhere = Client()
    assert log_in(elsewhere, alice)
    answer = client.post(reverse("account_reset_password"), {"email": "Alice@example.com"})
    assert answer.url == reverse("account_reset_password_done")
    (message,) = mail.outbox
    assert message.to == ["alice@example.com"]
    assert message.subject == "[AVESA] Set a new password"
    page = client.get(link_in(message), follow=True)
    path = page.redirect_chain[-1][0]
    assert "key" not in path
    weak = client.post(path, {"password1": "password12", "password2": "password12"})
    assert "too common" in weak.content.decode()
    assert client.post(path, {"password1": NEW, "password2": NEW}).url == "/"
    assert is_in(client)
    assert mail.outbox[-1].subject == "[AVESA] Your password was set anew"
    assert elsewhere.get("/").status_code == 302, "other sessions end"
    assert "/login/" in elsewhere.get("/").url
    assert not log_in(Client(), alice)
    assert log_in(Client(), alice, NEW)
    again = Client().get(link_in(message), follow=True)
    assert "not valid" in again.content.decode()


def test_unknown_addresses_get_the_same_answer_and_a_mail(client, alice):
    answers = [
        client.post(reverse("account_reset_password"), {"email": address}, follow=True).content
        for address in ("alice@example.com", "stranger@example.com")
    ]
    assert answers[0] == answers[1]
    assert [message.to for message in mail.outbox] == [
        ["alice@example.com"],
        ["stranger@example.com"],
    ]
    assert "no such account" in mail.outbox[1].body


def test_a_made_up_host_does_not_get_into_links(client, alice):
    host = {"HTTP_HOST": "evil.example"}
    client.post(reverse("account_reset_password"), {"email": "alice@example.com"}, **host)
    assert "evil.example" not in mail.outbox[0].body
    assert "http://127.0.0.1:8000/account/forgotten/" in mail.outbox[0].body


def test_mails_about_passwords_are_limited(client, alice):
    form = {"email": "alice@example.com"}
    codes = [client.post(reverse("account_reset_password"), form).status_code for _ in range(5)]
    assert codes == [302] * 3 + [429] * 2
    assert len(mail.outbox) == 3


def test_a_mail_server_that_is_down_is_no_error_page(client, alice, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    form = {"email": "alice@example.com"}
    assert client.post(reverse("account_reset_password"), form).status_code == 302


def test_a_password_is_changed_and_other_sessions_end(client, alice):
    elsewhere = Client()
    assert log_in(elsewhere, alice)
    assert log_in(client, alice)
    form = {"oldpassword": "wrong", "password1": NEW, "password2": NEW}
    assert client.post(reverse("account_change_password"), form).status_code == 200
    assert client.post(reverse("account_change_password"), form | {"oldpassword": "pass"}).url
    assert is_in(client)
    assert client.get("/").status_code == 302
    assert "/login/" in elsewhere.get("/").url
    assert mail.outbox[-1].subject == "[AVESA] Your password was changed"
    assert "192.0.2" not in mail.outbox[-1].body
    assert "From: 127.0.0.1" in mail.outbox[-1].body


# --- Second factors


@pytest.mark.django_db(transaction=True)
def test_with_an_app_the_password_alone_opens_nothing(client, alice, sent_tasks):
    assert log_in(client, alice)
    secret, codes = set_up_app(client)
    assert len(codes) == 10
    assert mail.outbox[-1].subject == "[AVESA] An authenticator app was added"
    other = Client()
    assert not log_in(other, alice)
    assert "/login/" in other.get("/").url
    assert "not valid" in other.post(reverse("mfa_authenticate"), {"code": "1"}).content.decode()
    other.post(reverse("mfa_authenticate"), {"code": code_of(secret, 1)})
    assert is_in(other)


def test_a_recovery_code_works_once_and_codes_are_shown_once(client, alice):
    assert log_in(client, alice)
    _, codes = set_up_app(client)
    assert codes[0] not in client.get(reverse("mfa_view_recovery_codes")).content.decode()
    first, second = Client(), Client()
    for other, enters in ((first, True), (second, False)):
        log_in(other, alice)
        other.post(reverse("mfa_authenticate"), {"code": codes[0]})
        assert is_in(other) is enters


def test_codes_cannot_be_guessed(client, alice):
    assert log_in(client, alice)
    set_up_app(client)
    other = Client()
    log_in(other, alice)
    pages = [other.post(reverse("mfa_authenticate"), {"code": "000000"}) for _ in range(7)]
    assert "Too many failed login attempts" in pages[-1].content.decode()
    assert not is_in(other)


def test_a_reset_by_mail_does_not_go_around_the_second_factor(client, alice):
    assert log_in(client, alice)
    set_up_app(client)
    other = Client()
    other.post(reverse("account_reset_password"), {"email": "alice@example.com"})
    path = other.get(link_in(mail.outbox[-1]), follow=True).redirect_chain[-1][0]
    answer = other.post(path, {"password1": NEW, "password2": NEW})
    assert answer.url == reverse("mfa_authenticate")
    assert not is_in(other)


def test_secrets_are_encrypted_and_survive_a_new_secret_key(client, alice, settings):
    assert log_in(client, alice)
    secret, _ = set_up_app(client)
    stored = " ".join(str(each.data) for each in Authenticator.objects.all())
    assert secret not in stored
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another"
    other = Client()
    log_in(other, alice)
    other.post(reverse("mfa_authenticate"), {"code": code_of(secret, 1)})
    assert is_in(other)


def test_a_tenant_demands_a_second_factor(client, acme, alice, charlie, warehouse):
    acme.demands_second_factor = True
    acme.save()
    assert log_in(client, alice)
    for path in ("/", f"/t/{acme.id}/", f"/api/v1/tenants/{acme.id}/metrics", "/admin/"):
        assert client.get(path).url == reverse("mfa_index"), path
    page = client.get(reverse("mfa_index")).content.decode()
    assert "Your organization demands it" in page
    set_up_app(client)
    assert client.get(f"/t/{acme.id}/").status_code == 200
    assert "demands it" not in client.get(reverse("mfa_index")).content.decode()
    other = Client()
    assert log_in(other, charlie)
    assert other.get("/").url == f"/t/{charlie.memberships.get().tenant_id}/"


def test_staff_need_a_second_factor_unless_it_is_switched_off(client, dora, settings, warehouse):
    client.force_login(dora)
    assert client.get("/admin/").status_code == 200
    settings.STAFF_SECOND_FACTOR = True
    assert client.get("/admin/").url == reverse("mfa_index")
    assert client.post(reverse("admin:tenants_user_changelist")).url == reverse("mfa_index")
    client.post(reverse("account_logout"))
    assert log_in(client, dora)
    set_up_app(client)
    assert client.get("/admin/").status_code == 200


def test_staff_remove_the_factors_of_a_person_who_lost_them(client, alice, dora, bob):
    own = Client()
    assert log_in(own, alice)
    set_up_app(own)
    client.force_login(dora)
    chosen = {"action": "remove_second_factors", "_selected_action": [alice.pk, bob.pk]}
    client.post(reverse("admin:tenants_user_changelist"), chosen)
    assert log_in(Client(), alice)
    assert [entry.object_repr for entry in LogEntry.objects.all()] == ["alice"]


def test_staff_do_not_remove_the_factors_of_those_who_have_more_rights(client, dora, bob):
    from django.contrib.auth.models import Permission

    boss = Client()
    assert log_in(boss, dora)
    set_up_app(boss)
    bob.is_staff = True
    bob.save()
    bob.user_permissions.add(Permission.objects.get(codename="change_user"))
    client.force_login(bob)
    chosen = {"action": "remove_second_factors", "_selected_action": [dora.pk]}
    client.post(reverse("admin:tenants_user_changelist"), chosen)
    assert Authenticator.objects.filter(user=dora).exists()


# --- Sessions


def test_sessions_are_listed_and_ended_one_by_one(client, alice, bob):
    phone, strangers = Client(HTTP_USER_AGENT="Phone"), Client(HTTP_USER_AGENT="Not mine")
    for each in (client, phone):
        assert log_in(each, alice)
    assert log_in(strangers, bob)
    page = client.get(reverse("sessions")).content.decode()
    assert "Phone" in page
    assert "Not mine" not in page
    (ends,) = re.findall(r"/account/sessions/\d+/end/", page)
    assert strangers.post(ends).status_code == 404
    assert client.get(ends).status_code == 405
    assert client.post(ends).url == reverse("sessions")
    assert "/login/" in phone.get("/").url
    assert client.get(reverse("sessions")).status_code == 200


def test_all_other_sessions_end_at_once(client, alice):
    others = [Client(), Client()]
    for each in (client, *others):
        assert log_in(each, alice)
    client.post(reverse("sessions_end_others"))
    assert [each.get(reverse("sessions")).status_code for each in (client, *others)] == [
        200,
        302,
        302,
    ]


@pytest.mark.django_db(transaction=True)
def test_a_login_in_a_new_browser_is_mailed(client, alice, sent_tasks):
    windows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
    agent = {"HTTP_USER_AGENT": windows, "REMOTE_ADDR": "192.0.2.9"}
    assert log_in(client, alice, **agent)
    ((name, *arguments),) = sent_tasks
    assert name == "tenants.tasks.mail_new_login"
    assert tasks.mail_new_login(*arguments)
    (message,) = mail.outbox
    assert (message.to, message.subject) == (["alice@example.com"], "[AVESA] New login")
    assert "Firefox on Windows" in message.body
    assert "192.0.2.9" in message.body
    client.post(reverse("account_logout"))
    assert log_in(client, alice, **agent)
    assert len(sent_tasks) == 1, "the browser is known now"


# --- Profile and mail address


def test_people_change_their_name(client, bob):
    client.force_login(bob)
    form = {"first_name": "Bob", "last_name": "Builder", "is_staff": "on", "username": "root"}
    assert client.post(reverse("profile"), form).status_code == 302
    bob.refresh_from_db()
    assert (bob.get_full_name(), bob.is_staff, bob.username) == ("Bob Builder", False, "bob")


def test_a_new_mail_address_counts_once_it_is_confirmed(client, alice):
    assert log_in(client, alice)
    form = {"email": "alice@new.example", "action_add": ""}
    confirm(client, client.post(reverse("account_email"), form, follow=True))
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"
    assert (
        "alice@new.example is not confirmed"
        in client.get(reverse("account_email")).content.decode()
    )
    (message,) = mail.outbox
    assert message.to == ["alice@new.example"]
    path = link_in(message)
    assert client.get(path).status_code == 200
    alice.refresh_from_db()
    assert alice.email == "alice@example.com", "a scanner that opens the link confirms nothing"
    client.post(path)
    alice.refresh_from_db()
    assert alice.email == "alice@new.example"
    assert mail.outbox[-1].to == ["alice@example.com"], "the old address learns of it"


def test_an_address_that_staff_replaced_resets_no_password(client, alice, dora):
    own = Client()
    own.force_login(alice)
    own.get(reverse("account_email"))
    assert EmailAddress.objects.filter(user=alice, email="alice@example.com").exists()
    client.force_login(dora)
    url = reverse("admin:tenants_user_change", args=[alice.pk])
    form = client.get(url).context["adminform"].form
    values = {name: form[name].value() for name in ("username", "date_joined")}
    values |= {
        "email": "alice@right.example",
        "is_active": "on",
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00:00",
        "memberships-TOTAL_FORMS": "0",
        "memberships-INITIAL_FORMS": "0",
    }
    assert client.post(url, values).status_code == 302
    own.post(reverse("account_reset_password"), {"email": "alice@example.com"})
    assert "no such account" in mail.outbox[-1].body


# --- Pages


def account_pages():
    for each in account_urls.urlpatterns:
        if getattr(each, "name", "") and "<" not in str(each.pattern):
            yield each.name
    yield from ("mfa_activate_totp", "mfa_generate_recovery_codes", "mfa_add_webauthn")
    yield from ("mfa_list_webauthn",)


def test_every_page_is_in_our_own_words(client, alice):
    assert log_in(client, alice)
    seen = 0
    for name in account_pages():
        answer = client.get(reverse(name), follow=True)
        if answer.status_code == 405:
            continue
        page = answer.content.decode()
        assert "– AVESA</title>" in page, name
        assert not re.search(r"(?i)\bsign[ -](in|up|out)\b|Menu:", page), name
        seen += 1
    assert seen > 12


def test_accounts_are_closed_to_others(client):
    for name in ("profile", "sessions", "account_change_password", "account_email", "mfa_index"):
        assert "/login/" in client.get(reverse(name)).url


def test_the_admin_changes_passwords_on_the_same_page(client, dora):
    client.force_login(dora)
    answer = client.get(reverse("admin:password_change"))
    assert answer.url == reverse("account_change_password")
    assert User.objects.get(pk=dora.pk).check_password("pass")
