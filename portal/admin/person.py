"""Recognizes a person in what is stored of acts on tenants, and replaces the name by a pseudonym.

A person is the subject of a provider (OpenID Connect Core 1.0 section 2: `sub` is unique for its issuer), or
a text such as an e-mail address in what others typed. A record names the person if replacing changes it.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from portal.admin.actors import Actor, ActorType, actor_of
from portal.admin.draft_state import TestResult, state_sealed_for, stored_state
from portal.admin.events import EventKind
from portal.display_text import display_text
from portal.keys.vault import Vault
from portal.stores.tenant_records import Draft, Event, Revision, SetupLink

SHORTEST_TEXT = 6
"""Characters of a subject that is looked for in texts: a shorter one is a word or number of other texts."""
_SHOWN = 300
_MOST_REPLACED = 200
"""Characters to which a text may grow; every field that is replaced may have more."""
_OF_PEOPLE = frozenset({ActorType.USER, ActorType.ADMIN, ActorType.OPERATOR, ActorType.EXPIRY})
_TARGETS_ARE_SUBJECTS = frozenset({EventKind.LOGIN_ENDED, EventKind.SUBJECT_EXPORTED})


@dataclass(frozen=True, slots=True)
class Person:
    """A person at a tenant.

    `issuers`: of the accounts with this subject; None: of any. `texts`: names and e-mail addresses that are
    looked for in texts of the tenant, as whole words in any case.
    """

    tenant: str
    subject: str
    issuers: frozenset[str] | None
    texts: frozenset[str] = frozenset()

    def has_account(self, subject: str, issuer: str) -> bool:
        """Whether an account of a provider is the person's."""
        return subject == self.subject and bool(issuer) and (self.issuers is None or issuer in self.issuers)

    def is_actor(self, actor: Actor) -> bool:
        """Whether the person acted. An operator at the command line has an account of the host, no issuer."""
        return actor.type in _OF_PEOPLE and self.has_account(actor.subject, actor.provider)


def new_pseudonym() -> str:
    """What takes the place of a person; nothing leads from it back to the person."""
    return f"erased-{secrets.token_hex(5)}"


class Replacing:
    """Replaces a person in records; a record that does not name the person is returned as it is."""

    def __init__(self, person: Person, pseudonym: str, vault: Vault) -> None:
        self._person = person
        self._pseudonym = pseudonym
        self._vault = vault
        self._text = _finder({*person.texts, person.subject})

    def text(self, text: str) -> str:
        """A text without the names of the person."""
        if self._text is None:
            return text
        found = self._text.sub(self._pseudonym, text)
        return text if found == text else found[: max(len(text), _MOST_REPLACED)]

    def event(self, event: Event) -> Event:
        """An event: it keeps when, what and at which tenant, and of others who did it."""
        actor = actor_of(event.actor)
        if self._person.is_actor(actor):
            event = replace(event, actor=self._erased(actor).as_json(), request_id="", client="", device="")
        if event.tenant != self._person.tenant:
            return event
        if actor.type is ActorType.SETUP_LINK and self.text(actor.subject) != actor.subject:
            event = replace(event, actor=replace(actor, subject=self.text(actor.subject)).as_json())
        target = self.text(event.target)
        shown = display_text(self._person.subject, limit=_SHOWN)
        if event.kind in _TARGETS_ARE_SUBJECTS and event.target == shown:
            target = self._pseudonym
        return replace(event, target=target, reason=self.text(event.reason))

    def revision(self, revision: Revision) -> Revision:
        """A revision: its content stays, which is how the organisation signs people in."""
        return replace(
            revision,
            author=self._author(revision.author),
            reason=self._of_tenant(revision.tenant, revision.reason),
            test=self._changed(revision.test, self._published_tests),
        )

    def draft(self, draft: Draft) -> Draft:
        """A draft: test logins of the person and by the person are left out."""
        return replace(
            draft,
            author=self._author(draft.author),
            test=self._changed(draft.test, lambda state: self._state(draft, state)),
        )

    def link(self, link: SetupLink) -> SetupLink:
        """A setup link."""
        name = self._of_tenant(link.tenant, link.name)
        return replace(link, author=self._author(link.author), name=name)

    def tests_of_person(self, draft: Draft) -> Mapping[str, TestResult]:
        """The test logins with an account of the person, or by the person, by the id of the provider."""
        return {id_: test for id_, test in self._opened(draft).items() if self._is_of_person(test)}

    def _author(self, stored: str) -> str:
        actor = actor_of(stored)
        return self._erased(actor).as_json() if self._person.is_actor(actor) else stored

    def _erased(self, actor: Actor) -> Actor:
        return replace(actor, subject=self._pseudonym)

    def _of_tenant(self, slug: str, text: str) -> str:
        return self.text(text) if slug == self._person.tenant else text

    def _published_tests(self, found: dict[str, Any]) -> None:
        for test in found.get("tests", {}).values():
            test["actor"] = self._author(str(test["actor"]))

    def _state(self, draft: Draft, found: dict[str, Any]) -> None:
        for id_ in self.tests_of_person(draft):
            del found["tests"][id_]
        for id_, failed in stored_state(draft).opened(self._opener(draft)).failed.items():
            if self._person.is_actor(actor_of(failed.actor)):
                del found["failed"][id_]
        proposal = found.get("proposal")
        if proposal:
            proposal["actor"] = self._author(str(proposal["actor"]))
            proposal["reason"] = self._of_tenant(draft.tenant, str(proposal["reason"]))

    def _opened(self, draft: Draft) -> Mapping[str, TestResult]:
        return stored_state(draft).opened(self._opener(draft)).tests

    def _opener(self, draft: Draft) -> Callable[[str], str]:
        return lambda sealed: self._vault.open(state_sealed_for(draft.tenant), sealed)

    def _is_of_person(self, test: TestResult) -> bool:
        return self._person.has_account(test.subject, test.issuer) or self._person.is_actor(
            actor_of(test.actor)
        )

    def _changed(self, text: str, change: Callable[[dict[str, Any]], None]) -> str:
        """JSON after a change; what cannot be read, or is not changed, is returned as it is."""
        try:
            found = json.loads(text) if text else None
            if not isinstance(found, dict):
                return text
            before = json.dumps(found)
            change(found)
            after = json.dumps(found)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return text
        return text if after == before else after


def _finder(texts: Collection[str]) -> re.Pattern[str] | None:
    """Finds these texts as whole words; None when there are none."""
    usable = sorted((text for text in texts if len(text) >= SHORTEST_TEXT), key=len, reverse=True)
    if not usable:
        return None
    words = "|".join(map(re.escape, usable))
    return re.compile(rf"(?<![\w@+-])(?:{words})(?![\w@+-]|\.\w)", re.IGNORECASE)
