"""Expensive requests are counted by user and tenant, by all web processes together."""

import uuid

import pytest
import redis
from django.core.signals import request_finished
from django.db import close_old_connections
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory

from common import limits
from common.limits import FileStore, Limit, RedisStore, ReleaseLimits, TooManyRequests

NOW = 1_800_000_010.0  # ten seconds into a minute


@pytest.fixture(params=["file", pytest.param("redis", marks=pytest.mark.redis)])
def stores(request, tmp_path, settings):
    """Two, as of two processes."""
    if request.param == "file":
        return FileStore(tmp_path / "limits"), FileStore(tmp_path / "limits")
    return RedisStore(settings.CACHE_URL), RedisStore(settings.CACHE_URL)


def limit(at_once=10, per_minute=10):
    return Limit(f"test:{uuid.uuid4()}", at_once, per_minute)


def test_so_many_run_at_once(stores):
    one, other = stores
    chosen = [limit(at_once=2)]
    assert [one.take(each, chosen, NOW) for each in "ab"] == [0, 0]
    assert other.take("c", chosen, NOW) == limits.BUSY_SECONDS
    one.release("a", chosen)
    assert other.take("c", chosen, NOW) == 0


def test_so_many_start_in_a_minute(stores):
    one, other = stores
    chosen = [limit(per_minute=2)]
    for token in "ab":
        assert one.take(token, chosen, NOW) == 0
        one.release(token, chosen)
    assert other.take("c", chosen, NOW) == 50, "until the minute is over"
    assert other.take("c", chosen, NOW + 50) == 0


def test_what_one_limit_refuses_counts_for_none(stores):
    store, _ = stores
    user, tenant = limit(per_minute=2), limit(at_once=1)
    assert store.take("a", [user, tenant], NOW) == 0
    assert store.take("b", [user, tenant], NOW) == limits.BUSY_SECONDS
    store.release("a", [user, tenant])
    assert store.take("b", [user, tenant], NOW) == 0
    store.release("b", [user, tenant])
    assert store.take("c", [user, tenant], NOW) == 50


def test_a_request_whose_process_died_counts_until_its_lease_ends(stores):
    store, _ = stores
    chosen = [limit(at_once=1)]
    store.take("a", chosen, NOW)
    assert store.take("b", chosen, NOW + limits.LEASE_SECONDS - 1) == limits.BUSY_SECONDS
    assert store.take("b", chosen, NOW + limits.LEASE_SECONDS + 1) == 0


# --- Requests


@pytest.fixture
def local(settings, tmp_path):
    settings.CACHE_URL, settings.VAR_DIR = "", tmp_path
    settings.REQUEST_LIMITS = {"export": (1, 5, 2, 8)}
    request_finished.disconnect(close_old_connections)  # as Django's test client does
    yield settings
    request_finished.connect(close_old_connections)


def site(view):
    """What a web process does with a request."""
    return ReleaseLimits(view)


def exported(request):
    limits.take(request, "export", "acme", request.META["USER"])
    return HttpResponse("done")


def get(user, path="/file"):
    return RequestFactory().get(path, USER=user, HTTP_AUTHORIZATION=user)


def test_a_request_counts_until_its_response_is_sent(local):
    serve = site(exported)
    first = serve(get("alice"))
    with pytest.raises(TooManyRequests):
        exported(get("alice"))
    first.close()
    serve(get("alice")).close()


def test_a_streamed_response_counts_until_its_end(local):
    def streamed(request):
        exported(request)
        return StreamingHttpResponse(iter(["a", "b"]))

    response = site(streamed)(get("alice"))
    assert list(response.streaming_content) == [b"a", b"b"]
    with pytest.raises(TooManyRequests):
        exported(get("alice"))
    response.close()
    exported(get("alice"))


def test_users_of_a_tenant_share_its_limit(local):
    serve = site(exported)
    kept = [serve(get(user)) for user in ("alice", "bob")]
    with pytest.raises(TooManyRequests):
        exported(get("carol"))
    kept[0].close()
    serve(get("carol")).close()
    kept[1].close()


def test_a_kind_without_numbers_has_no_limit(local):
    for _ in range(20):
        limits.take(get("alice"), "listing", "acme", "alice")


def test_without_redis_each_machine_counts_for_itself(local):
    local.CACHE_URL = "redis://127.0.0.1:1/0"
    exported(get("alice"))
    with pytest.raises(TooManyRequests):
        exported(get("alice"))


def test_the_caller_gets_the_same_refusal_until_its_time_is_over(local, monkeypatch):
    calls = []

    def refusing(request):
        calls.append(request)
        try:
            return exported(request)
        except TooManyRequests as error:
            return HttpResponse("wait", status=429, headers={"Retry-After": error.retry_after})

    serve = site(refusing)
    first = serve(get("alice"))
    answers = [serve(get("alice")) for _ in range(5)]
    assert {(each.status_code, each.content) for each in answers} == {(429, b"wait")}
    assert all(1 <= int(each["Retry-After"]) <= limits.BUSY_SECONDS for each in answers)
    assert len(calls) == 2, "the first refusal is remembered"
    assert serve(get("alice", "/other")).status_code == 429
    assert serve(get("bob")).status_code == 200
    first.close()
    monkeypatch.setattr(limits, "now", lambda: NOW * 2)
    assert serve(get("alice")).status_code == 200


def test_a_refusal_of_another_part_is_not_remembered(local):
    """Such as one after wrong passwords: behind a proxy, others have the same address."""
    answers = iter([429, 200])
    serve = site(lambda request: HttpResponse(status=next(answers), headers={"Retry-After": "60"}))
    assert [serve(get("")).status_code for _ in range(2)] == [429, 200]


@pytest.mark.redis
def test_redis_keeps_nothing_for_long(settings):
    store, chosen = RedisStore(settings.CACHE_URL), [limit()]
    store.take("a", chosen, NOW)
    client = redis.Redis.from_url(settings.CACHE_URL)
    ages = [client.ttl(key) for key in client.keys(f"avesa:limits:{chosen[0].key}*")]
    client.close()
    assert len(ages) == 2
    assert all(0 < age <= limits.LEASE_SECONDS for age in ages)
