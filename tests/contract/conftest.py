"""Fixtures that run a test against every database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from portal.stores.tenant_store import Database, TenantStore
from tests.contract.patience import patient_store
from tests.mongodb import fresh_database, running_server


@pytest.fixture(scope="session")
def mongodb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Connection string of a MongoDB server, without a database name."""
    with running_server(tmp_path_factory.mktemp("mongodb")) as uri:
        yield uri


@pytest.fixture(params=["sqlite", "mongodb"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a new database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/new/folder/portal.db"
        return
    with fresh_database(request.getfixturevalue("mongodb_server")) as url:
        yield url


@pytest.fixture
def store(io_loop: IOLoop, database_url: str) -> Iterator[Database]:
    """An open store on a new database."""
    opened = patient_store(database_url)
    io_loop.run_sync(opened.open)
    yield opened
    io_loop.run_sync(opened.close)


@pytest.fixture
def second_store(io_loop: IOLoop, database_url: str, store: Database) -> Iterator[Database]:
    """Another store on the same database, like that of another process."""
    opened = patient_store(database_url)
    io_loop.run_sync(opened.open)
    yield opened
    io_loop.run_sync(opened.close)


@pytest.fixture
def tenants(store: Database) -> TenantStore:
    """The tenants in the database of `store`."""
    return store.tenants


@pytest.fixture
def second_tenants(second_store: Database) -> TenantStore:
    """The tenants in the same database, as another process sees them."""
    return second_store.tenants
