"""A server without an operation that the store needs is refused at start, with a clear message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from portal.errors import StartupError, StoreUnavailable
from portal.stores.mongo.documents import Document
from portal.stores.mongo.store import MongoStore
from tests.contract.patience import patient_url
from tests.mongodb import fresh_database

QUERIES = "portal.stores.mongo.queries"


@pytest.fixture
def url(mongodb_server: str) -> Iterator[str]:
    with fresh_database(mongodb_server) as url:
        yield url


async def refusal(url: str) -> str:
    store = MongoStore(patient_url(url))
    with pytest.raises(StartupError) as caught:
        await store.open()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.probe()
    assert "MongoDB 5.0" in caught.value.remedy
    return caught.value.message


@pytest.mark.gen_test
async def test_a_supported_server_is_accepted_and_no_entry_is_left(url: str) -> None:
    store = MongoStore(patient_url(url))
    await store.open()
    await store.close()
    with MongoClient[Any](url) as client:
        database = client.get_default_database()
        for name in ("attempts", "logouts", "sessions", "logins", "once"):
            assert database[name].count_documents({}) == 0, name


@pytest.mark.gen_test
async def test_a_server_without_lookup_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{QUERIES}.WITH_SESSION", {"$lookupThatItLacks": {}})
    assert "cannot join two collections (aggregate, $lookup): MongoDB refused" in await refusal(url)


def lease_of(fields: Document) -> Callable[[MongoStore, str, float], Document]:
    """The update of a lease by a server that ignores a part of the command."""

    def lease(store: MongoStore, owner: str, seconds: float) -> Document:
        known = {"lease_owner": owner, "lease_ms": round(seconds * 1000), "lease_expires_at": 0.0}
        return {"$set": known, "$inc": {"version": 1}, **fields}

    return lease


@pytest.mark.gen_test
async def test_a_server_that_ignores_a_condition_of_a_lease_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MongoStore, "_lease", lease_of({"$currentDate": {"lease_from": True}}))
    store = MongoStore(patient_url(url))
    await store.open()
    await store.close()
    monkeypatch.setattr(f"{QUERIES}.LEASE_HAS_EXPIRED", {"$lte": [1, 2]})
    assert "cannot compare times with its own clock" in await refusal(url)


@pytest.mark.gen_test
async def test_a_server_that_does_not_set_its_own_time_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MongoStore, "_lease", lease_of({}))
    assert "cannot compare times with its own clock" in await refusal(url)


@pytest.mark.gen_test
async def test_a_server_without_expressions_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{QUERIES}.LOGIN_IS_LIVE", {"$exprThatItLacks": 1})
    assert "cannot compare times" in await refusal(url)
