"""Logins: one page for all, the same answer for known and unknown names, and limits that neither
let a password be guessed nor lock a person out for good."""

import secrets
import threading
import time
from urllib.parse import unquote

import pytest
from django.contrib.auth.hashers import make_password
from django.db import connections
from django.test import Client
from django.urls import reverse

from avesa_site.testing import BACKENDS
from tenants.accounts import passwords
from tenants.models import Tenant, User

pytestmark = pytest.mark.django_db

LOGIN = "/login/"
REAL_HASHER = ["tenants.accounts.passwords.BoundedHasher"]


def attempt(client, name="alice", password="wrong", address="198.51.100.7", **more):
    form = {"username": name, "password": password, **more}
    return client.post(LOGIN, form, REMOTE_ADDR=address)


def is_in(client):
    return "_auth_user_id" in client.session


@pytest.mark.parametrize("name", ["alice", "alice@example.com", "Alice@Example.com", " alice "])
def test_people_log_in_by_user_name_or_mail_address(client, alice, name):
    answer = attempt(client, name, "pass")
    assert (answer.status_code, answer.url) == (302, "/")
    assert is_in(client)


def test_an_address_of_two_accounts_is_no_login(client, alice):
    User.objects.create_user("alice2", "alice@example.com", "pass")
    assert "Wrong user name" in attempt(client, "alice@example.com", "pass").content.decode()
    attempt(client, "alice2", "pass")
    assert is_in(client)


def test_a_user_name_that_looks_like_the_address_of_another_comes_first(client, alice):
    User.objects.create_user("alice@example.com", password="other")
    attempt(client, "alice@example.com", "pass")
    assert not is_in(client)


@pytest.mark.parametrize(
    ("target", "goes_to"),
    [
        ("/t/acme/", "/t/acme/"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("javascript:alert(1)", "/"),
    ],
)
def test_next_leads_only_to_pages_of_this_site(client, alice, target, goes_to):
    assert client.get(LOGIN, {"next": target}).status_code == 200
    assert attempt(client, "alice", "pass", next=target).url == goes_to


def test_the_admin_has_no_login_page_of_its_own(client, dora, alice):
    for path in ("/admin/", "/admin/login/?next=/admin/"):
        answer = client.get(path, follow=True)
        assert unquote(answer.redirect_chain[-1][0]) == "/login/?next=/admin/"
    answer = client.post("/admin/login/?next=/admin/", {"username": "dora", "password": "pass"})
    assert unquote(answer.url) == "/login/?next=/admin/"
    assert not is_in(client)
    client.force_login(alice)
    assert client.get("/admin/login/").status_code == 403


def test_no_one_signs_up(client):
    assert client.get("/signup/").status_code == 404
    assert client.get("/account/signup/").status_code == 404


# --- The same answer and time


@pytest.fixture
def hashes(settings, monkeypatch):
    """The number of hashes computed so far, with the real hasher."""
    settings.PASSWORD_HASHERS = REAL_HASHER
    monkeypatch.setattr(passwords.BoundedHasher, "iterations", 10)
    count = []
    encode = passwords.BoundedHasher.encode
    monkeypatch.setattr(
        passwords.BoundedHasher, "encode", lambda *args: count.append(1) or encode(*args)
    )
    return count


def test_every_attempt_gets_the_same_answer_for_the_price_of_one_hash(hashes, acme, globex, db):
    password = make_password("pass")
    people = {
        "alice": {"email": "alice@example.com"},
        "idle": {"is_active": False},
        "keyless": {"password": "!"},
        "twin1": {"email": "twin@example.com"},
        "twin2": {"email": "twin@example.com"},
        "locked": {},
    }
    for name, fields in people.items():
        User.objects.create(username=name, **{"password": password, **fields})
    Tenant.objects.filter(pk=acme.pk).update(is_active=False)
    acme.memberships.create(user=User.objects.get(username="locked"))
    wrong = [
        "alice",
        "alice@example.com",
        "idle",
        "none",
        "twin@example.com",
        "stranger",
        "no@x.org",
    ]
    right = ["idle", "locked", "twin@example.com"]
    answers = set()
    for name, given in [(n, "wrong") for n in wrong] + [(n, "pass") for n in right]:
        client = Client()
        hashes.clear()
        answer = attempt(client, name, given, address=f"198.51.100.{len(name)}")
        assert len(hashes) == 1, name
        assert not is_in(client)
        page = answer.content.decode().replace(name, "…")
        answers.add((answer.status_code, page.partition("csrfmiddlewaretoken")[0], page[-400:]))
    assert len(answers) == 1


# --- Limits


def test_guesses_at_one_account_are_limited_from_all_addresses_together(alice):
    answers = [attempt(Client(), address=f"203.0.113.{n}") for n in range(8)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 3
    assert answers[-1]["Retry-After"] == "300"
    assert "Wait 5 minutes" in answers[-1].content.decode()
    assert not is_in_after_right_password(alice)


def is_in_after_right_password(user, client=None):
    client = client or Client()
    attempt(client, user.username, "pass", address="192.0.2.1")
    return is_in(client)


def test_name_and_mail_address_share_one_limit(alice):
    names = ["alice", "alice@example.com", "ALICE@example.com"] * 3
    codes = [
        attempt(Client(), name, address=f"203.0.113.{n}").status_code
        for n, name in enumerate(names)
    ]
    assert codes == [200] * 5 + [429] * 4


def test_unknown_names_are_limited_like_known_ones(db):
    codes = [attempt(Client(), "stranger", address=f"203.0.113.{n}").status_code for n in range(7)]
    assert codes == [200] * 5 + [429] * 2


def test_guesses_from_one_address_at_many_accounts_are_limited(bob, alice):
    codes = [attempt(Client(), f"user{n}").status_code for n in range(22)]
    assert codes == [200] * 20 + [429] * 2
    assert attempt(Client(), "bob", "pass").status_code == 429
    assert is_in_after_right_password(bob), "from another address"


def test_the_host_name_does_not_give_more_guesses(alice):
    for n in range(5):
        attempt(Client(HTTP_HOST=f"host{n}.example"), address=f"203.0.113.{n}")
    assert attempt(Client(HTTP_HOST="another.example"), address="203.0.113.9").status_code == 429


def test_an_attacker_does_not_lock_out_the_browser_that_the_person_uses(alice, bob):
    home = Client()
    assert is_in_after_right_password(alice, home)
    home.post(reverse("account_logout"))
    for n in range(8):
        attempt(Client(), address=f"203.0.113.{n}")
    assert is_in_after_right_password(alice, home)
    assert not is_in_after_right_password(alice), "in a browser that is not known"
    home.post(reverse("account_logout"))
    codes = [attempt(home, address=f"203.0.114.{n}").status_code for n in range(6)]
    assert codes == [200] * 5 + [429], "a known browser has limits, too"


def test_the_cookie_of_one_account_gives_nothing_for_another(alice, bob):
    own = Client()
    assert is_in_after_right_password(bob, own)
    own.post(reverse("account_logout"))
    for n in range(5):
        attempt(Client(), address=f"203.0.113.{n}")
    assert attempt(own, "alice", address="203.0.113.9").status_code == 429
    forged = Client()
    forged.cookies["known_browser"] = f"{alice.pk}:guess:sig"
    assert attempt(forged, "alice", address="203.0.113.10").status_code == 429


@pytest.mark.parametrize("backend", ["files", pytest.param("redis", marks=pytest.mark.redis)])
def test_the_counts_are_kept_by_the_caches_that_processes_share(alice, settings, tmp_path, backend):
    caches = {
        "files": {"BACKEND": "common.cache_entries.SignedFileCache", "LOCATION": tmp_path},
        "redis": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": BACKENDS["REDIS_URL"],
            "KEY_PREFIX": secrets.token_hex(8),
            "OPTIONS": {"SERIALIZER": "common.cache_entries.JsonSerializer"},
        },
    }
    settings.CACHES = {"default": caches[backend]}
    codes = [attempt(Client(), address=f"203.0.113.{n}").status_code for n in range(7)]
    assert codes == [200] * 5 + [429] * 2


def test_the_limit_ends(alice, monkeypatch):
    for n in range(6):
        attempt(Client(), address=f"203.0.113.{n}")
    now = time.time()
    monkeypatch.setattr("allauth.core.internal.ratelimit.time.time", lambda: now + 301)
    assert is_in_after_right_password(alice)


def test_a_right_password_uses_nothing_up(alice):
    assert all(is_in_after_right_password(alice) for _ in range(8))


def test_behind_a_proxy_the_address_of_the_client_counts(alice, settings):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    for n in range(25):
        form = {"username": f"user{n}", "password": "x"}
        answer = Client().post(LOGIN, form, HTTP_X_FORWARDED_FOR=f"203.0.113.{n % 2}, 10.0.0.1")
    assert answer.status_code == 429, "what the client itself wrote does not count"
    form = {"username": "alice", "password": "pass"}
    answer = Client().post(LOGIN, form, HTTP_X_FORWARDED_FOR="10.0.0.2")
    assert answer.status_code == 302


def test_without_a_cache_people_can_log_in(alice, settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    assert is_in_after_right_password(alice)


# --- Hashing


@pytest.mark.django_db(transaction=True)
def test_many_logins_at_once_occupy_few_threads(client, settings, monkeypatch):
    """Excess is refused at once, so that it starves nothing; who waits for a hash gets it."""
    settings.PASSWORD_HASHERS = REAL_HASHER
    settings.ACCOUNT_RATE_LIMITS = {"login": None, "password": None, "login_failed": None}
    User.objects.create_user("alice", password="pass")
    running, most = [], []
    hash_once = passwords.PBKDF2PasswordHasher.encode

    def encode(*args):
        running.append(1)
        most.append(len(running))
        time.sleep(0.3)
        try:
            return hash_once(*args)
        finally:
            running.pop()

    monkeypatch.setattr(passwords.PBKDF2PasswordHasher, "encode", encode)
    monkeypatch.setattr(passwords.BoundedHasher, "iterations", 10)
    answers = []
    start = threading.Barrier(40)

    def log_in():
        start.wait()
        answers.append(attempt(Client(), "alice", "pass"))
        connections.close_all()

    threads = [threading.Thread(target=log_in) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    codes = sorted(answer.status_code for answer in answers)
    assert codes.count(302) >= 4
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) + codes.count(302) == 40
    assert len(refused) > 20
    assert refused[0]["Retry-After"] == "5"
    assert "Wait 5 seconds" in refused[0].content.decode()


def test_a_refused_hash_is_no_failed_attempt(alice, settings, monkeypatch):
    settings.PASSWORD_HASHERS = [*REAL_HASHER, *settings.PASSWORD_HASHERS]
    monkeypatch.setattr(passwords, "_admitted", threading.BoundedSemaphore(1))
    with passwords._admitted:
        codes = [attempt(Client(), "stranger", address=f"203.0.113.{n}") for n in range(7)]
    assert {answer["Retry-After"] for answer in codes} == {"5"}
    assert attempt(Client(), "stranger").status_code == 200
