"""Cache entries are data: exact, signed on disk, and never a program."""

import pickle
import zlib
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from django.core.cache import cache
from unfold.dataclasses import SearchResult

from common.cache_entries import JsonSerializer, SignedFileCache, Unreadable, decode, encode


class Bomb:
    """A pickle that makes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def files(tmp_path):
    return SignedFileCache(str(tmp_path / "cache"), {})


def only_file(tmp_path):
    (path,) = (tmp_path / "cache").iterdir()
    return path


VALUES = [
    None,
    True,
    -(2**70),
    0.1,
    "grüße\ud800\n\0",
    Decimal("1.50"),
    Decimal("-0E-10"),
    Decimal("NaN"),
    date(2026, 2, 28),
    datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=UTC),
    datetime(2026, 6, 1, tzinfo=timezone(timedelta(hours=-4))),
    datetime(2026, 6, 1),
    [["a", [1, Decimal("2.10")]], {"board": ["x"], "n": date(2026, 1, 1)}],
    SearchResult("Tenants", "Tenants", "/admin/tenants/tenant/", "tag"),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_come_back_exactly(value):
    found = decode(encode(value))
    assert repr(found) == repr(value)
    assert type(found) is type(value)


def test_tuples_come_back_as_lists():
    assert decode(encode((1, ("a", Decimal(2))))) == [1, ["a", Decimal(2)]]


def test_other_types_are_refused():
    for value in (object(), {1, 2}, b"bytes", timedelta(1)):
        with pytest.raises(TypeError):
            encode(value)


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x04.", b'{"$decimal": "x"}', b'{"$date": 5}', b"[" * 9]
)
def test_damaged_entries_are_unreadable(data):
    with pytest.raises(Unreadable):
        decode(data)


# --- Files


def test_the_file_cache_keeps_values_until_they_expire(files):
    files.set("a", [Decimal("1.5")])
    files.set("none", None)
    files.set("old", 1, timeout=-1)
    assert files.get("a") == [Decimal("1.5")]
    assert files.get("none", "default") is None
    assert files.get("old") is None
    assert files.get("missing", 7) == 7
    assert files.add("a", 1) is False
    assert files.add("b", 1) is True
    assert files.incr("b", 4) == 5
    assert files.get_many(["a", "b", "c"]) == {"a": [Decimal("1.5")], "b": 5}
    assert files.touch("b", -1) is True
    assert files.has_key("b") is False
    assert files.touch("b") is False
    assert files.delete("a") is True
    assert files.get("a") is None


def test_a_planted_pickle_is_not_run(files, tmp_path):
    planted = tmp_path / "ran"
    bomb = pickle.dumps(Bomb(planted))
    for content in (bomb, pickle.dumps(None) + zlib.compress(bomb), bomb[:5], b""):
        files.set("a", 1)
        only_file(tmp_path).write_bytes(content)
        assert files.get("a") is None
        assert files.has_key("a") is False
        assert files.touch("a") is False
        assert not planted.exists()


def test_a_changed_entry_is_not_read(files, tmp_path, settings):
    files.set("a", 1)
    path = only_file(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert files.get("a") is None
    path.write_bytes(content)
    assert files.get("a") == 1
    settings.SECRET_KEY = "another-key"
    assert files.get("a") is None


def test_an_entry_cannot_pass_for_another(files, tmp_path):
    files.set("metric:acme", "acme's figures")
    stolen = only_file(tmp_path).read_bytes()
    files.set("metric:globex", "globex's figures")
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(stolen)
    assert files.get("metric:acme") == "acme's figures"
    assert files.get("metric:globex") is None


# --- Redis


def test_a_pickle_in_redis_is_not_run(tmp_path):
    serializer = JsonSerializer({})
    planted = tmp_path / "ran"
    assert serializer.loads(pickle.dumps(Bomb(planted))) is None
    assert not planted.exists()
    assert serializer.loads(serializer.dumps([Decimal("1.0")])) == [Decimal("1.0")]


def test_the_settings_use_no_pickles():
    from avesa_site import settings

    default = settings.CACHES["default"]
    kind = default.get("OPTIONS", {}).get("SERIALIZER", default["BACKEND"])
    assert kind.startswith("common.cache_entries.")


def test_the_search_of_the_admin_works_with_this_cache(client, dora, settings, tmp_path):
    """django-unfold keeps objects of its own in the cache."""
    backend = "common.cache_entries.SignedFileCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": str(tmp_path)}}
    client.force_login(dora)
    for _ in range(2):
        page = client.get("/admin/search/", {"s": "tenant"}).content.decode()
        assert "/admin/tenants/tenant/" in page
    assert len(cache._list_cache_files()) == 1
