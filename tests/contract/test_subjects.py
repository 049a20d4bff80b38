"""What is stored of a person is found and erased completely, on every database."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from portal.admin import subjects as subjects_module
from portal.admin.actors import Actor, ActorType, actor_of
from portal.admin.events import Act
from portal.admin.person import Person
from portal.admin.subject_export import export_text
from portal.admin.subjects import StoredOfPerson, Subjects
from portal.keys.key_ring import KeyRing
from portal.keys.vault import Vault
from portal.stores.by_url import inspection_for
from portal.stores.model import Login
from portal.stores.sqlite.store import SQLiteStore
from portal.stores.tenant_store import Database
from tests.contract.entries import (
    NOW,
    at,
    new_draft,
    new_event,
    new_link,
    new_login,
    new_revision,
    new_session,
    new_tenant,
)

ISSUER = "https://login.acme.example/"
SUBJECT = "auth0|5f7c8ec7c33c6c004bbafe82"
USER = Actor(ActorType.USER, SUBJECT, ISSUER).as_json()
ADMIN = Actor(ActorType.ADMIN, SUBJECT, ISSUER).as_json()
OPERATOR = Actor(ActorType.OPERATOR, SUBJECT, ISSUER).as_json()
SOMEBODY = Actor(ActorType.USER, "somebody else", ISSUER).as_json()
ACT = Act(Actor(ActorType.OPERATOR, "root"), reason=f"request of {SUBJECT}")
ADA = {"sub": SUBJECT, "email": "ada@acme.example"}


@dataclass
class World:
    """A database, and the tokens of the logins that ended."""

    store: Database
    vault: Vault
    url: str
    ended: list[str] = field(default_factory=list)

    @property
    def subjects(self) -> Subjects:
        return Subjects(
            self.store, tenants=lambda slug: None, end_login=self.end, vault=self.vault, clock=lambda: NOW
        )

    async def end(self, login: Login) -> bool:
        deleted = await self.store.delete_login(login.session, login.tenant, tokens=login.tokens)
        self.ended += [deleted.tokens] if deleted is not None else []
        return deleted is not None

    async def find(self, issuer: str | None = None) -> StoredOfPerson:
        issuers = frozenset({issuer}) if issuer else None
        return await self.subjects.find(Person("acme", SUBJECT, issuers), lambda read: None)

    async def sign_in(self, tokens: str, **changes: Any) -> Login:
        session = new_session()
        login = new_login(session, tokens=tokens, subject=SUBJECT, issuer=ISSUER, claims=ADA)
        await self.store.add_session(session, login=replace(login, **changes))
        return replace(login, **changes)

    async def stored(self) -> str:
        """All that the database has, as text: a name that is left is found in it."""
        inspection = inspection_for(self.url)
        await inspection.open()
        try:
            return "\n".join([repr(one.entry) async for page in inspection.pages() for one in page])
        finally:
            await inspection.close()


@pytest.fixture
def world(store: Database, database_url: str, tmp_path: Path) -> World:
    return World(store, Vault(KeyRing.create(tmp_path / "keys.json")), database_url)


async def fill(world: World) -> None:
    """Everything that can name a person, and as much that names somebody else."""
    tenants = world.store.tenants
    await world.sign_in("token 1")
    await world.sign_in("token 2", expires_at=at(-1), signed_in_at=at(-900))
    await world.store.put_login(new_login(tokens="token 3", subject=SUBJECT, issuer=ISSUER, claims=ADA))
    await world.sign_in("other tenant", tenant="globex")
    await world.sign_in("other subject", subject="somebody else", claims={})
    await tenants.add_events(
        [
            new_event("signed_in", 1, tenant="acme", actor=USER),
            new_event("login_ended", 2, tenant="acme", target=SUBJECT, reason="ada@acme.example left"),
            new_event("signed_in", 3, tenant="acme", actor=SOMEBODY),
            new_event("draft_saved", 4, tenant="initech", actor=OPERATOR),
            new_event("signed_in", 5, tenant="globex", actor=USER),
        ]
    )
    await tenants.add_tenant(new_tenant(), event=new_event("tenant_added", 6))
    for number, author in ((1, ADMIN), (2, SOMEBODY)):
        revision = new_revision(number, author=author)
        await tenants.publish(revision, replaces=number - 1, draft=None, event=new_event("p", 6 + number))
    await tenants.put_draft(new_draft(author=ADMIN), replaces=None, event=None)
    await tenants.add_setup_link(new_link(author=ADMIN), event=new_event("setup_link_made", 9))


@pytest.mark.gen_test
async def test_everything_that_is_stored_of_a_person_is_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PAGE", "_LOGINS_AT_ONCE", "_REVISIONS_AT_ONCE", "_REPLACED_AT_ONCE"):
        monkeypatch.setattr(subjects_module, name, 1)  # each page has one
    await fill(world)
    found = await world.find()
    assert {one.login.tokens for one in found.logins} == {"token 1", "token 2", "token 3"}
    assert {one.login.tokens for one in found.logins if one.session is None} == {"token 3"}
    assert [(event.tenant, event.kind) for event in found.events] == [
        ("acme", "signed_in"),
        ("acme", "login_ended"),
        ("initech", "draft_saved"),
    ]
    assert [revision.number for revision in found.revisions] == [1]
    assert len(found.drafts) == len(found.links) == 1
    assert found.issuers == {ISSUER}
    other = await world.find("https://other.example")
    assert (other.logins, other.revisions, other.drafts, other.links) == ((), (), (), ())
    assert [event.kind for event in other.events] == ["login_ended"], "its target has no issuer"


@pytest.mark.gen_test
async def test_an_export_has_all_of_it_and_no_token(world: World) -> None:
    """THREATS A10."""
    await fill(world)
    text = export_text(await world.find(), at=NOW)
    document = json.loads(text)
    assert {len(document[name]) for name in ("logins", "events")} == {3}
    assert [login["claims"] for login in document["logins"]] == [ADA] * 3
    assert {login["device"] for login in document["logins"]} == {new_session().device, None}
    assert {len(document[name]) for name in ("revisions", "drafts", "setup_links")} == {1}
    secrets = [value for login in await all_logins(world) for value in (login.tokens, login.sid)]
    assert [value for value in secrets if value and value in text] == []
    assert text.isascii()


async def all_logins(world: World) -> list[Login]:
    return [*await world.store.tenant_logins.stored("acme", before=None, most=99)]


@pytest.mark.gen_test
async def test_nothing_names_an_erased_person_and_everything_else_stays(world: World) -> None:
    await fill(world)
    before = {event.id: event for event in await world.store.tenants.read_events(most=99)}
    kept_login = await world.sign_in("same session", subject="somebody else", claims={})
    first = next(one for one in (await world.find()).logins if one.login.tokens == "token 1").login
    await world.store.put_login(replace(kept_login, session=first.session, tenant="globex"))
    pseudonym, ended = await world.subjects.erase(await world.find(), ACT)
    assert ended == 3
    assert set(world.ended) == {"token 1", "token 2", "token 3"}
    assert not await world.find()
    left = await all_logins(world)
    assert {login.tokens for login in left} == {"other subject", "same session"}
    sessions, _ = await world.store.read({first.session}, (), now=0.0)
    assert set(sessions) == {first.session}, "it has a login at another tenant"

    after = {event.id: event for event in await world.store.tenants.read_events(most=99)}
    (reported,) = [event for event in after.values() if event.id not in before]
    assert (reported.kind, reported.tenant, reported.target) == ("subject_erased", "acme", pseudonym)
    assert reported.reason == f"request of {pseudonym}"
    assert before.keys() <= after.keys()
    changed = [after[id_] for id_, event in before.items() if after[id_] != event]
    assert [(event.kind, event.target, event.reason) for event in changed] == [
        ("signed_in", "revision 1", "why not"),
        ("login_ended", pseudonym, f"{pseudonym} left"),
        ("draft_saved", "revision 1", "why not"),
    ]
    assert [actor_of(event.actor).subject for event in (changed[0], changed[2])] == [pseudonym] * 2
    assert (await world.store.tenants.get_draft("initech")) == new_draft(
        author=Actor(ActorType.ADMIN, pseudonym, ISSUER).as_json()
    )


@pytest.mark.gen_test
async def test_no_entry_of_the_database_has_an_erased_person(world: World) -> None:
    """As `portal store check` reads it: what no method of the store returns is part of it (THREATS A10)."""
    await fill(world)
    await world.store.delete_logins_by_subject(
        ISSUER, SUBJECT, tenant="globex", registration=new_login().registration
    )
    await world.store.tenants.purge_events(before=0.0, most=1)
    assert SUBJECT in await world.stored()
    await world.subjects.erase(await world.find(), ACT)
    left = [line for line in (await world.stored()).splitlines() if SUBJECT in line or "ada@" in line]
    assert [line for line in left if "globex" not in line] == []
    assert len(left) == 1, "the event of the other tenant"


@pytest.mark.gen_test
async def test_an_interrupted_erasure_is_completed_by_the_next_one(world: World) -> None:
    """What tells the person's e-mail address stays until all records are searched for it."""
    await fill(world)

    class Killed(Exception):
        """The process ends."""

    async def killed(login: Login) -> bool:
        await world.end(login)
        if len(world.ended) == 3:
            raise Killed
        return True

    subjects = world.subjects
    subjects._end_login = killed
    with pytest.raises(Killed):
        await subjects.erase(await world.find(), ACT)
    await world.subjects.erase(await world.find(), ACT)
    left = [line for line in (await world.stored()).splitlines() if SUBJECT in line or "ada@" in line]
    assert [line for line in left if "globex" not in line] == []


_FOUND_IN = "import pathlib, sys; print(sum(open(p, 'rb').read().count(sys.argv[2].encode()) for p in \
pathlib.Path(sys.argv[1]).parent.glob('*')))"


def bytes_of_files(path: Path, text: str) -> int:
    """How often the files of a database have a text; another process reads them, which keeps the locks."""
    found = subprocess.run(
        [sys.executable, "-c", _FOUND_IN, str(path), text], capture_output=True, text=True, check=True
    )
    return int(found.stdout)


@pytest.mark.gen_test(timeout=60)
async def test_no_byte_of_a_sqlite_file_has_an_erased_person(tmp_path: Path) -> None:
    """Neither its pages nor its write-ahead log, while a portal has it open."""
    path = tmp_path / "store" / "portal.db"
    portal, command = SQLiteStore(path), SQLiteStore(path)
    await portal.open()
    vault = Vault(KeyRing.create(tmp_path / "keys.json"))
    running = World(portal, vault, f"sqlite:///{path}")
    await fill(running)
    assert bytes_of_files(path, "ada@acme.example") > 0
    await portal.delete_logins_by_subject(
        ISSUER, SUBJECT, tenant="globex", registration=new_login().registration
    )
    await command.open()
    erasing = World(command, vault, running.url)
    await erasing.subjects.erase(await erasing.find(), ACT)
    await command.close()
    assert bytes_of_files(path, "ada@acme.example") == 0
    await portal.close()
    assert bytes_of_files(path, "ada@acme.example") == 0


@pytest.mark.gen_test
async def test_an_erased_person_without_another_login_has_no_session(world: World) -> None:
    login = await world.sign_in("token 1")
    await world.subjects.erase(await world.find(), ACT)
    sessions, _ = await world.store.read({login.session}, (), now=0.0)
    assert sessions == {}


@pytest.mark.gen_test
async def test_one_subject_at_two_issuers_is_two_accounts(world: World) -> None:
    await world.sign_in("first")
    await world.sign_in("second", issuer="https://second.example")
    assert (await world.find()).issuers == {ISSUER, "https://second.example"}
    found = await world.find(ISSUER)
    assert [one.login.tokens for one in found.logins] == ["first"]
    await world.subjects.erase(found, ACT)
    assert [login.tokens for login in await all_logins(world)] == ["second"]
