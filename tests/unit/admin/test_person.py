"""What names a person in records, and what takes its place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portal.admin import draft_state
from portal.admin.actors import Actor, ActorType, actor_of
from portal.admin.draft_state import (
    FailedTest,
    Proposal,
    StoredState,
    state_sealed_for,
    stored_state,
)
from portal.admin.events import Act, EventKind
from portal.admin.person import Person, Replacing, new_pseudonym
from portal.keys.key_ring import KeyRing
from portal.keys.vault import Vault
from portal.stores.record_checks import require_valid
from portal.stores.tenant_records import Draft, Event, Revision, SetupLink

ISSUER = "https://login.acme.example"
ANN = Actor(ActorType.ADMIN, "sub-of-ann", ISSUER)
BOB = Actor(ActorType.ADMIN, "sub-of-bob", ISSUER)
PERSON = Person("acme", "sub-of-ann", frozenset({ISSUER}), frozenset({"ann@acme.example"}))
ERASED = "erased-0011223344"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(KeyRing.create(tmp_path / "keys.json"))


@pytest.fixture
def replacing(vault: Vault) -> Replacing:
    return Replacing(PERSON, ERASED, vault)


def event(
    actor: Actor = BOB, *, kind: EventKind = EventKind.DRAFT_SAVED, tenant: str = "acme", **changes: Any
) -> Event:
    act = Act(actor, reason="why", request_id="r-1", client="192.0.2.0/24", device="Firefox")
    return replace(act.event(kind, tenant=tenant, target="revision 3", at=1000.0), **changes)


def revision(**changes: Any) -> Revision:
    made = Revision("acme", 3, "name: Acme", 1, BOB.as_json(), "why", "", 1000.0)
    return replace(made, **changes)


def draft(**changes: Any) -> Draft:
    return replace(Draft("acme", "name: Acme", 1, 7, 0, BOB.as_json(), "", 1000.0), **changes)


def test_an_event_of_the_person_keeps_what_was_done(replacing: Replacing) -> None:
    before = event(ANN)
    after = replacing.event(before)
    erased = Actor(ActorType.ADMIN, ERASED, ISSUER).as_json()
    assert after == replace(before, actor=erased, request_id="", client="", device="")


@pytest.mark.parametrize(
    "other",
    [
        event(),
        event(replace(ANN, provider="https://other.example")),
        event(Actor(ActorType.OPERATOR, ANN.subject)),
        event(reason="sub-of-annika"),
        event(reason="mail to xann@acme.example or ann@acme.example.org"),
        event(kind=EventKind.DRAFT_SAVED, tenant="globex", reason="for ann@acme.example"),
        replace(event(), actor="not JSON"),
    ],
)
def test_an_event_that_does_not_name_the_person_stays(replacing: Replacing, other: Event) -> None:
    assert replacing.event(other) == other


def test_the_target_and_the_reason_of_others_name_the_person_no_longer(replacing: Replacing) -> None:
    found = replacing.event(
        event(kind=EventKind.LOGIN_ENDED, target="sub-of-ann", reason="asked by Ann@ACME.example.")
    )
    assert (found.target, found.reason) == (ERASED, f"asked by {ERASED}.")
    assert (found.actor, found.client, found.device) == (BOB.as_json(), "192.0.2.0/24", "Firefox")


def test_a_short_subject_is_a_target_and_no_part_of_texts(vault: Vault) -> None:
    replacing = Replacing(Person("acme", "3", frozenset({ISSUER})), ERASED, vault)
    ended = event(kind=EventKind.LOGIN_ENDED, target="3", reason="3 times")
    found = replacing.event(ended)
    assert (found.target, found.reason) == (ERASED, "3 times")
    other = event(kind=EventKind.DRAFT_SAVED, target="3")
    assert replacing.event(other) == other


def test_who_has_a_setup_link_is_named_by_a_text(replacing: Replacing) -> None:
    found = replacing.event(event(Actor(ActorType.SETUP_LINK, "ann@acme.example (0a1b)")))
    assert actor_of(found.actor).subject == f"{ERASED} (0a1b)"


def test_a_text_that_grows_is_still_stored(replacing: Replacing) -> None:
    full = " ".join(["ann@acme.example"] * 60)[:1000]
    long = event(target=full[:300], reason=full)
    found = replacing.event(long)
    require_valid(found)
    assert "ann@" not in found.reason + found.target[:-15]
    require_valid(replacing.link(link(name=full[:253])))


def link(**changes: Any) -> SetupLink:
    return replace(SetupLink("0a1b", "acme", "f" * 64, "IT", BOB.as_json(), "", 1.0, 2.0, 0.0), **changes)


def test_revisions_and_links_have_the_pseudonym_as_author(replacing: Replacing) -> None:
    tests = {"main": {"at": 1.0, "actor": ANN.as_json()}, "other": {"at": 1.0, "actor": BOB.as_json()}}
    before = revision(author=ANN.as_json(), reason="ann@acme.example", test=json.dumps({"tests": tests}))
    after = replacing.revision(before)
    erased = replace(ANN, subject=ERASED).as_json()
    tests["main"]["actor"] = erased
    assert after == replace(before, author=erased, reason=ERASED, test=json.dumps({"tests": tests}))
    assert replacing.link(link(author=ANN.as_json(), name="ann@acme.example")) == link(
        author=erased, name=ERASED
    )
    for other in (revision(), revision(test='{"again": 3}'), revision(test="not JSON"), revision(test="[]")):
        assert replacing.revision(other) == other
    assert replacing.link(link()) == link()


def result(provider: str, subject: str, actor: Actor) -> draft_state.TestResult:
    return draft_state.TestResult(provider, "f", 1.0, actor.as_json(), {"sub": subject}, subject, ISSUER)


def failed(provider: str, actor: Actor) -> FailedTest:
    return FailedTest(provider, "f", 1.0, actor.as_json(), "code", "title", "", "")


def test_test_logins_of_and_by_the_person_leave_a_draft(replacing: Replacing, vault: Vault) -> None:
    def seal(text: str) -> str:
        return vault.seal(state_sealed_for("acme"), text)

    state = StoredState(edited=6, proposal=Proposal(ANN, "ann@acme.example asks", 1.0))
    for one in (
        result("of", ANN.subject, BOB),
        result("by", BOB.subject, ANN),
        result("other", BOB.subject, BOB),
    ):
        state = state.with_test(one, seal)
    for two in (failed("f1", ANN), failed("f2", BOB)):
        state = state.with_failed_test(two, seal)
    before = draft(author=ANN.as_json(), test=state.text())
    assert set(replacing.tests_of_person(before)) == {"of", "by"}
    after = replacing.draft(before)
    kept = stored_state(after)
    erased = replace(ANN, subject=ERASED)
    assert (set(kept.tests), set(kept.failed), kept.edited) == ({"other"}, {"f2"}, 6)
    assert kept.proposal == Proposal(erased, f"{ERASED} asks", 1.0)
    assert actor_of(after.author) == erased
    assert replacing.draft(after) == after
    assert replacing.draft(draft(test="damaged")) == draft(test="damaged")


def test_without_an_issuer_the_accounts_of_all_are_meant_and_none_of_a_host() -> None:
    person = Person("acme", "root", None)
    assert person.is_actor(Actor(ActorType.EXPIRY, "root", ISSUER))
    assert person.is_actor(Actor(ActorType.ADMIN, "root", ISSUER))
    assert person.is_actor(Actor(ActorType.OPERATOR, "root", "https://other.example"))
    assert not person.is_actor(Actor(ActorType.OPERATOR, "root"))
    assert not person.is_actor(Actor(ActorType.SETUP_LINK, "root", ISSUER))


def test_a_pseudonym_is_new_each_time() -> None:
    assert len({new_pseudonym() for _ in range(100)}) == 100
