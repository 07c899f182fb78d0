"""One endpoint for the whole folder; every test gets a database of its own."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from clickhouse_driver import Client

from analytics.tests.warehouse.embedded.wire import Wire
from analytics.warehouse.embedded import EmbeddedClickHouse


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    with EmbeddedClickHouse(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


@pytest.fixture
def database(endpoint: EmbeddedClickHouse) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    with Client(endpoint.host, port=endpoint.port) as client:
        client.execute(f"CREATE DATABASE {name}")
        yield name
        client.execute(f"DROP DATABASE {name}")


@pytest.fixture
def connect(endpoint: EmbeddedClickHouse, database: str) -> Iterator[Callable[..., Client]]:
    """Makes clients of the test's database, and closes them after it."""
    clients: list[Client] = []

    def make(**options: object) -> Client:
        clients.append(
            Client(endpoint.host, **({"port": endpoint.port, "database": database} | options))
        )
        return clients[-1]

    yield make
    for client in clients:
        client.disconnect()


@pytest.fixture
def client(connect: Callable[..., Client]) -> Client:
    return connect()


@pytest.fixture
def wire(endpoint: EmbeddedClickHouse) -> Iterator[Callable[..., Wire]]:
    """Makes bare connections to the endpoint, and closes them after the test."""
    made: list[Wire] = []

    def make(**options: str) -> Wire:
        made.append(Wire(endpoint, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
