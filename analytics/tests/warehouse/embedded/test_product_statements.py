"""The statements that the product depends on."""

import boto3
import pytest
from clickhouse_driver.errors import ServerException
from moto.server import ThreadedMotoServer


@pytest.fixture
def table(client):
    client.execute(
        "CREATE TABLE t (tenant_id String, id UInt32, is_current Bool, v String) "
        "ENGINE = MergeTree PARTITION BY tenant_id ORDER BY (tenant_id, id) "
        "SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1"
    )
    client.execute(
        "INSERT INTO t SELECT ['a', 'b'][number % 2 + 1], number, true, 'old' FROM numbers(1000)"
    )
    return client


def test_lightweight_update_through_a_join_table(table):
    table.execute(
        "CREATE TABLE plan (id UInt32, is_current Bool, v String) ENGINE = Join(ANY, LEFT, id)"
    )
    table.execute("INSERT INTO plan VALUES", [(n, False, "new") for n in range(0, 100, 2)])
    table.execute(
        "UPDATE t SET is_current = joinGet('plan', 'is_current', id), v = joinGet('plan', 'v', id) "
        "WHERE tenant_id = 'a' AND id IN (SELECT number FROM numbers(0, 100) WHERE number % 2 = 0)",
        settings={"max_insert_threads": 1, "min_insert_block_size_rows": 1000000000},
    )
    assert table.execute("SELECT countIf(is_current), countIf(v = 'new') FROM t") == [(950, 50)]


def test_replace_partition(table):
    table.execute("CREATE TABLE side AS t")
    table.execute("INSERT INTO side VALUES", [("a", 1, True, "replaced")])
    table.execute("ALTER TABLE t REPLACE PARTITION 'a' FROM side")
    assert table.execute("SELECT tenant_id, count() FROM t GROUP BY 1 ORDER BY 1") == [
        ("a", 1),
        ("b", 500),
    ]


def test_optimize_and_lightweight_delete(table):
    table.execute("DELETE FROM t WHERE tenant_id = 'a' AND id < 100")
    table.execute("OPTIMIZE TABLE t PARTITION 'a' FINAL")
    assert table.execute("SELECT count() FROM t WHERE tenant_id = 'a'") == [(450,)]


def test_filters_hold_inside_parameterized_views(table):
    table.execute("CREATE VIEW v AS SELECT id FROM t WHERE tenant_id = {tenant_id:String}")
    settings = {"additional_table_filters": "{'t': 'id < 10'}"}
    assert len(table.execute("SELECT * FROM v(tenant_id='a')", settings=settings)) == 5


def test_reading_and_writing_objects(client):
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        s3 = boto3.client(
            "s3",
            endpoint_url=url,
            aws_access_key_id="k",
            aws_secret_access_key="s",
            region_name="us-east-1",
        )
        s3.create_bucket(Bucket="lake")
        s3.put_object(Bucket="lake", Key="a/one.csv", Body=b"1,x\n2,y\n")
        s3.put_object(Bucket="lake", Key="a/two.csv", Body=b"3,z\n")
        rows = client.execute(
            "SELECT n, s, _file "
            f"FROM s3('{url}/lake/a/*.csv', 'k', 's', 'CSV', 'n Int8, s String') ORDER BY n"
        )
        assert rows == [(1, "x", "one.csv"), (2, "y", "one.csv"), (3, "z", "two.csv")]
        with pytest.raises(ServerException):
            client.execute(f"SELECT * FROM s3('{url}/lake/nope.csv', 'k', 's', 'CSV', 'n Int8')")
    finally:
        server.stop()
