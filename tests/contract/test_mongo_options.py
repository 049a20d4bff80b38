"""The options of the MongoDB store, checked in the commands that it sends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import structlog
from pymongo import MongoClient, monitoring
from pymongo.read_preferences import ReadPreference

from portal.errors import StoreUnavailable
from portal.stores.model import SessionTouch
from portal.stores.mongo.store import MongoStore
from tests.contract.entries import NOW, at, new_attempt, new_login, new_session, provider_of
from tests.contract.patience import patient_url
from tests.kit.mongo_proxy import mongo_proxy
from tests.mongodb import fresh_database
from tests.unit.outbound.certificates import issue
from tests.unit.outbound.tls_wire import server_context

WRITES = {"insert", "update", "delete", "findAndModify"}
READS = {"find"}


OF_THE_CONNECTION = {"saslStart", "saslContinue", "authenticate", "hello", "ismaster", "endSessions"}
"""Commands of the driver itself, to the database `admin`; those with credentials are reported empty."""


class Commands(monitoring.CommandListener):
    """Records the commands of the store that the driver sends."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name not in OF_THE_CONNECTION:
            self.sent.append(dict(event.command))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Ignored."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Ignored."""

    def named(self, names: set[str]) -> list[dict[str, Any]]:
        return [command for command in self.sent if next(iter(command)) in names]


@pytest.fixture
def commands() -> Iterator[Commands]:
    listeners = monitoring._LISTENERS.command_listeners
    commands = Commands()
    monitoring.register(commands)
    yield commands
    listeners.remove(commands)


@pytest.fixture
def url(mongodb_server: str) -> Iterator[str]:
    with fresh_database(mongodb_server) as url:
        yield url


def with_options(url: str, options: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{options}"


async def use(store: MongoStore) -> None:
    """Perform each kind of read and write once."""
    session, login = new_session(), new_login()
    await store.open()
    await store.add_attempt(new_attempt())
    await store.add_session(session)
    await store.touch_sessions([SessionTouch(session.id, at(1), at(2))])
    await store.put_login(login)
    await store.acquire_lease(login.id, owner="one", seconds=20)
    await store.read([session.id], [login.id], now=NOW)
    await store.list_logins(login.session, now=NOW)
    await store.delete_logins_by_sid(login.issuer, login.sid or "", **provider_of(login))
    await store.remember_once("key", expires_at=at(1), now=NOW)
    await store.purge()
    await store.close()


@pytest.mark.gen_test
async def test_writes_wait_for_the_majority(url: str, commands: Commands) -> None:
    await use(MongoStore(url))
    assert {next(iter(command)) for command in commands.named(WRITES | READS)} == WRITES | READS
    for command in commands.named(WRITES):
        assert command["writeConcern"] == {"w": "majority"}, command


@pytest.mark.gen_test
async def test_reads_use_the_primary_whatever_the_url_says(url: str) -> None:
    store = MongoStore(with_options(url, "readPreference=secondary"))
    await store.open()
    # The driver never sends a preference to a single server, so there is no command to check.
    assert store._connection.database.read_preference == ReadPreference.PRIMARY
    await store.close()


@pytest.mark.gen_test
async def test_the_url_may_set_another_write_concern(url: str, commands: Commands) -> None:
    await use(MongoStore(with_options(url, "w=1&journal=true")))
    for command in commands.named(WRITES):
        assert command["writeConcern"] == {"w": 1, "j": True}, command


@pytest.mark.gen_test
async def test_every_query_of_logins_contains_the_session_as_shard_key(url: str, commands: Commands) -> None:
    await use(MongoStore(url))
    filters = [
        query
        for command in commands.named(WRITES | READS)
        if command[next(iter(command))] == "logins"
        for query in (
            *([command["filter"]] if "filter" in command else []),
            *([command["query"]] if "query" in command else []),
            *(update["q"] for update in command.get("updates", ())),
        )
    ]
    assert len(filters) >= 5
    for query in filters:
        assert "session" in query or "sid" in query, query


@pytest.mark.gen_test
async def test_a_session_and_its_login_are_read_in_one_round_trip(url: str, commands: Commands) -> None:
    session = new_session()
    login = new_login(session=session.id)
    store = MongoStore(url)
    await store.open()
    await store.add_session(session)
    await store.put_login(login)
    commands.sent.clear()
    assert await store.read([session.id], [login.id], now=NOW) == ({session.id: session}, {login.id: login})
    assert [command["aggregate"] for command in commands.sent] == ["logins"]
    await store.close()


@pytest.mark.parametrize("server", ["alone", "replica set"])
@pytest.mark.gen_test(timeout=60)
async def test_the_database_is_that_of_the_url(
    url: str, mongodb_server: str, commands: Commands, server: str
) -> None:
    """At a replica set the driver has sessions, which it ends."""
    async with mongo_proxy(mongodb_server) as proxy:
        here, there = mongodb_server.rpartition(":")[2], str(proxy.port)
        await use(MongoStore(patient_url(url if server == "alone" else url.replace(here, there, 1))))
    assert {command["$db"] for command in commands.sent} == {url.rpartition("/")[2].partition("?")[0]}
    assert ("txnNumber" in commands.named({"insert"})[0]) is (server == "replica set")


@pytest.mark.gen_test
async def test_the_indexes_of_a_collection_are_created_by_one_command(url: str, commands: Commands) -> None:
    """Each command may take seconds where a collection is large or its server far away."""
    await use(MongoStore(url))
    made = [command["createIndexes"] for command in commands.named({"createIndexes"})]
    assert len(made) == len(set(made)) > 5


@pytest.mark.gen_test
async def test_indexes_are_created_for_every_query_and_for_expiry(url: str) -> None:
    await use(MongoStore(url))
    await use(MongoStore(url))
    with MongoClient[dict[str, Any]](url) as client:
        database = client.get_default_database()
        made = {
            (name, tuple(key for key, _ in index["key"]), "expireAfterSeconds" in index, "unique" in index)
            for name in ("attempts", "logouts", "sessions", "logins", "once")
            for index in database[name].index_information().values()
        }
    assert made >= {
        ("attempts", ("expires_at",), True, False),
        ("logouts", ("expires_at",), True, False),
        ("sessions", ("expires_at", "_id"), False, False),
        ("sessions", ("secret_hash",), False, True),
        ("logins", ("session",), False, False),
        ("logins", ("sid",), False, False),
        ("logins", ("issuer", "subject"), False, False),
        ("logins", ("expires_at", "_id"), False, False),
        ("once", ("expires_at",), True, False),
    }


@pytest.mark.gen_test(timeout=60)
async def test_a_server_that_rejects_an_index_option_gets_a_plain_index_and_one_log_line(
    url: str, mongodb_server: str
) -> None:
    """As a sharded collection rejects a unique index."""
    async with mongo_proxy(mongodb_server) as proxy:
        proxy.refuses = lambda command: any("unique" in index for index in command.get("indexes", ()))
        there = url.replace(mongodb_server.rpartition(":")[2], str(proxy.port), 1)
        with structlog.testing.capture_logs() as logs:
            await use(MongoStore(patient_url(there)))
    (line,) = logs
    assert line["event"] == "index_options_refused"
    assert line["indexes"] == ["sessions.secret_hash unique (code 67)"]
    with MongoClient[dict[str, Any]](url) as client:
        made = client.get_default_database()["sessions"].index_information()
        attempts = client.get_default_database()["attempts"].index_information()
    assert set(made) == {"_id_", "secret_hash_1", "expires_at_1__id_1"}
    assert "unique" not in made["secret_hash_1"]
    assert "expireAfterSeconds" in attempts["expires_at_1"]


@pytest.mark.gen_test(timeout=60)
async def test_the_server_does_not_delete_logins_before_their_end_is_an_event(
    url: str, mongodb_server: str
) -> None:
    """Earlier versions made TTL indexes for them. The test server cannot drop them, so it is not asked to."""
    async with mongo_proxy(mongodb_server) as proxy:
        dropped: list[tuple[object, object]] = []

        def refuse(command: Any) -> bool:
            if "dropIndexes" in command:
                dropped.append((command["dropIndexes"], command["index"]))
            return "dropIndexes" in command

        proxy.refuses = refuse
        there = url.replace(mongodb_server.rpartition(":")[2], str(proxy.port), 1)
        with structlog.testing.capture_logs() as logs:
            await use(MongoStore(patient_url(there)))
    assert dropped == [("sessions", "expires_at_1"), ("logins", "expires_at_1")]
    assert [(line["event"], line["collection"]) for line in logs] == [
        ("index_not_dropped", "sessions"),
        ("index_not_dropped", "logins"),
    ]
    with structlog.testing.capture_logs() as logs:
        await use(MongoStore(url))  # there are none
    assert logs == []


PASSWORD = "p/w:@ %ü-secret"


@pytest.mark.gen_test(timeout=60)
async def test_the_url_may_have_credentials_and_an_authority_for_tls(
    url: str, mongodb_server: str, commands: Commands, tmp_path: Path
) -> None:
    authority = issue("Test CA", authority=True)
    (tmp_path / "ca.pem").write_text(authority.chain)
    context = server_context(tmp_path, issue("localhost", authority))
    name = url.rpartition("/")[2].partition("?")[0]
    options = f"replicaSet=rs0&authSource=admin&tls=true&tlsCAFile={quote(str(tmp_path / 'ca.pem'))}"
    async with mongo_proxy(mongodb_server, credentials=("portal", PASSWORD), tls=context) as proxy:
        there = f"localhost:{proxy.port}/{name}?{options}"
        await use(MongoStore(patient_url(f"mongodb://portal:{quote(PASSWORD, safe='')}@{there}")))
        assert proxy.authenticated
        assert {command["$db"] for command in commands.sent} == {name}
        for user in ("portal:wrong@", "other:wrong@", ""):
            with pytest.raises(StoreUnavailable) as refused:
                await MongoStore(patient_url(f"mongodb://{user}{there}")).open()
            assert "wrong" not in str(refused.value)
            assert "code 18" in str(refused.value) or "code 13" in str(refused.value)


@pytest.mark.gen_test(timeout=60)
async def test_a_server_without_a_trusted_certificate_is_not_used(
    url: str, mongodb_server: str, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text(issue("Test CA", authority=True).chain)
    context = server_context(tmp_path, issue("localhost", issue("Another CA", authority=True)))
    options = f"tls=true&tlsCAFile={quote(str(tmp_path / 'ca.pem'))}&serverSelectionTimeoutMS=3000"
    async with mongo_proxy(mongodb_server, credentials=("portal", PASSWORD), tls=context) as proxy:
        with pytest.raises(StoreUnavailable, match="MongoDB does not respond"):
            await MongoStore(f"mongodb://portal:x@localhost:{proxy.port}/portal?{options}").open()
        assert not proxy.authenticated
