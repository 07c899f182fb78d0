"""A record, its relations and its history, on the page and in the API."""

import re
from decimal import Decimal
from urllib.parse import urljoin

import pytest

from analytics.records import addresses
from analytics.tests.versions import at, company, ticket, version
from tenants.models import ApiToken

LINEAGE = {"load_id": 7, "loaded_at": at("2026-02-01"), "source_time": at("2026-01-31")}


@pytest.fixture
def recorded(acme, globex, put_rows):
    """Three versions with a gap before the last, an invisible one, and one of another tenant."""

    def version(tenant, key, since, until, **columns):
        file = f"lake/{tenant.id}/canonical/companies/a.parquet"
        return company(key, since, until, source_file=file, **LINEAGE, **columns)

    rows = [
        version(acme, "1", "2026-01-01", "2026-01-03", name="Ümlaut & Co", status="New"),
        version(acme, "1", "2026-01-03", "2026-01-05", name="Ümlaut & Co", status="",
                annual_revenue=Decimal("1234.50")),
        version(acme, "1", "2026-01-05", "2026-01-05", name="never seen") | {"is_current": False},
        version(acme, "1", "2026-01-08", None, name="Back", status=None),
        version(acme, "a/b c", "2026-01-01", None, name="odd id"),
    ]  # fmt: skip
    put_rows(acme, "companies", rows)
    put_rows(globex, "companies", [version(globex, "1", "2026-01-01", None, name="Secret")])
    return acme


def api(tenant, key="1", table="companies"):
    return f"/api/{table}/{tenant.id}/{key}/history"


def v1(tenant, key="1", table="companies"):
    return f"/api/v1/tenants/{tenant.id}/tables/{table}/{key}"


def page(tenant, key="1", table="companies"):
    return f"/t/{tenant.id}/explore/{table}/{key}/"


def test_the_api_returns_every_version_and_its_changes(client, alice, recorded):
    client.force_login(alice)
    answer = client.get(api(recorded)).json()
    assert (answer["table"], answer["tenant_id"], answer["id"]) == (
        "companies",
        recorded.id,
        "1",
    )
    first, second, third = answer["versions"]
    assert first["changes"] == []
    assert first["effective_date"] == "2026-01-01T00:00:00Z"
    assert first["expiry_date"] == "2026-01-03T00:00:00Z"
    assert {c["field"]: (c["before"], c["after"]) for c in second["changes"]} == {
        "status": ("New", ""),
        "annual_revenue": (None, 1234.5),
    }
    assert [v["after_gap"] for v in answer["versions"]] == [False, False, True]
    assert [v["is_current"] for v in answer["versions"]] == [False, False, True]
    assert third["expiry_date"] is None
    assert third["values"]["status"] is None
    assert third["load"] == {
        "id": 7,
        "loaded_at": "2026-02-01T00:00:00Z",
        "file": "companies/a.parquet",
        "file_time": "2026-01-31T00:00:00Z",
    }


def test_a_token_gives_access_only_to_its_own_tenants_history(client, recorded, globex):
    headers = {"Authorization": f"Bearer {ApiToken.issue(recorded, 'test')[1]}"}
    assert client.get(api(recorded), headers=headers).status_code == 200
    assert client.get(api(globex), headers=headers).status_code == 404


def test_ids_may_hold_anything(client, alice, recorded):
    client.force_login(alice)
    assert client.get(api(recorded, "a/b%20c")).json()["versions"][0]["values"]["name"] == "odd id"
    assert "odd id" in client.get(page(recorded, "a/b%20c")).content.decode()


ODD_IDS = [
    "a\nb", "\r\n", "\t", "/", "a//b", ".", "..", "../tickets", "?sort=name", "#1", "%2F", "+",
    "a/history", "history", "~", "~.", "~YQ", "\x01", "\x7f", " ", "", "日本 Ü", "'\"<b>",
    "{{ x }}", "x" * 16_000, "é" * 5_000, "A-1_b.c:d@e",
]  # fmt: skip


def test_every_id_has_a_link_that_leads_to_its_record(client, alice, acme, put_rows):
    put_rows(acme, "companies", [company(key, name=f"name {n}") for n, key in enumerate(ODD_IDS)])
    client.force_login(alice)
    listed = client.get(f"/t/{acme.id}/explore/companies/?sort=company_id&columns=name")
    assert listed.status_code == 200
    links = re.findall(
        r'<td><a class="whole" href="([^"?]+)[^"]*" aria-label="[^"]+">(name \d+)</a>',
        listed.content.decode(),
    )
    assert len(links) == len(ODD_IDS)
    for link, name in links:
        assert re.fullmatch(r"[A-Za-z0-9_.:@~/-]{1,300}", link)
        assert urljoin("http://host/", link) == f"http://host{link}", "a browser changes it"
        text = client.get(link).content.decode()
        assert f"<td>{name}</td>" in text


@pytest.mark.parametrize("key", ODD_IDS, ids=lambda key: ascii(key)[:20])
def test_the_api_takes_ids_as_they_are_written_in_links(client, alice, acme, put_rows, key):
    put_rows(acme, "companies", [company(key, name="it"), company("other")])
    client.force_login(alice)
    answer = client.get(v1(acme, addresses.written(key))).json()
    assert (answer["id"], answer["values"]["name"]) == (key, "it")
    history = client.get(v1(acme, addresses.written(key)) + "/history").json()
    assert history == client.get(api(acme, addresses.written(key))).json()
    assert (history["id"], len(history["versions"])) == (key, 1)


@pytest.mark.parametrize("key", ["a\nb", "a/b", "\x01", "x" * 1000], ids=lambda key: ascii(key)[:9])
def test_records_with_odd_ids_are_linked_with_each_other(client, alice, acme, put_rows, key):
    put_rows(acme, "companies", [company(key, name="Customer")])
    put_rows(acme, "contacts", [version("2026-01-01", contact_id="/\n", company_id=key)])
    client.force_login(alice)
    above = addresses.written(key)
    text = client.get(page(acme, addresses.written("/\n"), "contacts")).content.decode()
    assert page(acme, above) in text
    text = client.get(page(acme, above)).content.decode()
    if len(key) < 200:
        assert page(acme, addresses.written("/\n"), "contacts") in text


@pytest.mark.parametrize("address", ["~!", "~_w", "~.YQ", "~." + "A" * 43, "~" + "A" * 5000])
def test_an_address_that_was_made_up_is_not_found(client, alice, recorded, address):
    client.force_login(alice)
    for url in (page(recorded, address), api(recorded, address), v1(recorded, address)):
        assert client.get(url).status_code == 404


@pytest.mark.parametrize(("key", "table"), [("404", "companies"), ("1", "nope")])
def test_unknown_records_are_not_found_in_the_api(client, alice, recorded, key, table):
    client.force_login(alice)
    assert client.get(api(recorded, key, table)).status_code == 404


def test_the_page_shows_versions_changes_and_where_they_came_from(client, alice, recorded):
    client.force_login(alice)
    text = client.get(page(recorded)).content.decode()
    assert "3 versions" in text
    assert "valid now" in text
    assert "Ümlaut &amp; Co" in text
    assert "1,234.50" in text
    assert "It came back with this version" in text
    assert "Load #7" in text
    assert "companies/a.parquet" in text
    assert "lake/" not in text
    assert "never seen" not in text
    assert "Secret" not in text


@pytest.mark.parametrize("name", ["charlie", "dora"])
def test_others_and_staff_find_no_history(client, request, name, recorded):
    client.force_login(request.getfixturevalue(name))
    for url in (
        page(recorded),
        api(recorded),
        v1(recorded),
        v1(recorded) + "/history",
    ):
        answer = client.get(url)
        assert answer.status_code == 404
        assert "Ümlaut" not in answer.content.decode()


def test_an_unknown_record_has_an_error_page(client, alice, recorded):
    client.force_login(alice)
    answer = client.get(page(recorded, "<script>"))
    assert answer.status_code == 404
    assert "No such record" in answer.content.decode()
    assert "<script>" not in answer.content.decode().replace("<script src", "")


def test_version_1_returns_the_same_history_and_the_record(client, alice, recorded):
    client.force_login(alice)
    assert client.get(f"{v1(recorded)}/history").json() == client.get(api(recorded)).json()
    answer = client.get(v1(recorded)).json()
    assert (answer["id"], answer["is_current"]) == ("1", True)
    assert answer["values"]["name"] == "Back"
    assert answer["load"]["file"] == "companies/a.parquet"
    assert client.get(v1(recorded, "a/b%20c")).json()["values"]["name"] == "odd id"
    for missing in (
        v1(recorded, "404"),
        v1(recorded, "1", "nope"),
        v1(recorded, "404") + "/history",
    ):
        assert client.get(missing).status_code == 404


def test_what_belongs_together_is_shown_and_linked(client, alice, acme, put_rows):
    put_rows(acme, "companies", [company("c", name="Customer")])
    put_rows(acme, "contacts", [version("2026-01-01", contact_id="p", company_id="c")])
    numbers = range(7)
    put_rows(
        acme,
        "tickets",
        [
            ticket(f"t{n}", company_id="c", contact_id="p", ticket_number=f"no. {n}",
                   created_date=f"2026-02-0{n + 1}")
            for n in numbers
        ],
    )  # fmt: skip
    put_rows(
        acme,
        "time_entries",
        [version("2026-01-01", entry_id=f"e{n}", ticket_id="t1", company_id="c") for n in numbers],
    )
    client.force_login(alice)
    text = client.get(page(acme, "c")).content.decode()
    assert [f"no. {n}" in text for n in numbers] == [False, False, True, True, True, True, True]
    assert f"/t/{acme.id}/explore/tickets/?where=company_id~is~c" in text
    assert f"/t/{acme.id}/explore/contacts/p/" in text
    text = client.get(page(acme, "t1", "tickets")).content.decode()
    assert f"/t/{acme.id}/explore/companies/c/" in text
    assert f"/t/{acme.id}/explore/contacts/p/" in text
    assert f"/t/{acme.id}/explore/time_entries/e0/" in text


def test_without_the_warehouse_there_is_an_error_page(client, alice, acme, settings):
    settings.CLICKHOUSE_URL = "clickhouse://default@127.0.0.1:1/avesa"
    client.force_login(alice)
    answer = client.get(page(acme))
    assert answer.status_code == 503
    assert "not available right now" in answer.content.decode()
