"""What is stored of a person at a tenant: found, exported and erased (GDPR articles 15 and 17).

Found are logins with their sessions, events, and what names the person in revisions, drafts and setup links.
Not found are login attempts, which are not of anybody before they are finished and last ten minutes; hashes
of revoked users (sessions/revoked_users.py), which last an hour; and what is not in the database: logs,
backups, and copies that were delivered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from portal.admin.actors import actor_of
from portal.admin.draft_state import TestResult
from portal.admin.event_search import PAGE
from portal.admin.events import Act, EventKind
from portal.admin.person import Person, Replacing, new_pseudonym
from portal.clock import Clock
from portal.display_text import display_text
from portal.keys.vault import Vault
from portal.stores.model import Login, Session
from portal.stores.tenant_logins import Position
from portal.stores.tenant_records import Draft, Event, Named, Revision, SetupLink
from portal.stores.tenant_store import Database
from portal.tenancy.model import Tenant

_LOGINS_AT_ONCE = 200
_REVISIONS_AT_ONCE = 50
_REPLACED_AT_ONCE = 200

Progress = Callable[[int], None]
"""Called with the number of entries that were read."""
EndLogin = Callable[[Login], Awaitable[bool]]
"""Ends a login and revokes its tokens; returns False when it has ended already."""


@dataclass(frozen=True, slots=True)
class FoundLogin:
    """A login, and its session unless that has ended."""

    login: Login
    session: Session | None


@dataclass(frozen=True, slots=True)
class FoundDraft:
    """A draft that names the person, and the test logins in it that are of the person."""

    draft: Draft
    tests: Mapping[str, TestResult]


@dataclass(frozen=True, slots=True)
class StoredOfPerson:
    """What is stored of a person. `issuers`: of the accounts that were found; two can be two people."""

    person: Person
    issuers: frozenset[str]
    logins: tuple[FoundLogin, ...]
    events: tuple[Event, ...]
    revisions: tuple[Revision, ...]
    drafts: tuple[FoundDraft, ...]
    links: tuple[SetupLink, ...]

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.logins or self.events or self.revisions or self.drafts or self.links)


class Subjects:
    """Finds, exports and erases what is stored of people.

    Parameters: tenants, the live ones; end_login, as `LogoutService.end_found_login`; clock, that of the
    database.
    """

    def __init__(
        self,
        database: Database,
        *,
        tenants: Callable[[str], Tenant | None],
        end_login: EndLogin,
        vault: Vault,
        clock: Clock,
    ) -> None:
        self._store = database
        self._tenants = tenants
        self._end_login = end_login
        self._vault = vault
        self._clock = clock

    async def find(self, person: Person, progress: Progress) -> StoredOfPerson:
        """Read everything; in memory are one page and what is found. Raises StoreUnavailable.

        With `issuers` None, the accounts of all providers are found, and the result says which.
        """
        count = _Count(progress)
        logins = await self._logins_of(person, count)
        person = replace(person, texts=person.texts | self._addresses(person.tenant, logins))
        issuers = {found.login.issuer for found in logins}
        events: list[Event] = []
        replacing = Replacing(person, new_pseudonym(), self._vault)
        async for event in self._events_of(person.tenant, count):
            if replacing.event(event) != event:
                events.append(event)
                if person.is_actor(actor := actor_of(event.actor)):
                    issuers.add(actor.provider)
        if person.issuers is None:
            person = replace(person, issuers=frozenset(issuers | self._live_issuers(person.tenant)))
            replacing = Replacing(person, new_pseudonym(), self._vault)
        async for event in self._acts(count):
            if event.tenant != person.tenant and replacing.event(event) != event:
                events.append(event)
        return await self._with_records(
            StoredOfPerson(person, frozenset(issuers), tuple(logins), tuple(events), (), (), ()),
            replacing,
            count,
        )

    async def report_export(self, found: StoredOfPerson, act: Act) -> None:
        """Record that it was exported; call it before anybody sees it. Raises StoreUnavailable."""
        shown = display_text(found.person.subject, limit=300)
        await self._report(EventKind.SUBJECT_EXPORTED, found.person.tenant, shown, act)

    async def erase(self, found: StoredOfPerson, act: Act) -> tuple[str, int]:
        """Erase what was found; return the pseudonym and how many logins this call has ended.

        The event is stored first. The records keep what was done, and have the pseudonym in place of the
        person. Logins end last, because they tell the e-mail addresses that the records are searched for: an
        erasure that was interrupted finds the rest when it is repeated. They end as those that an admin ends:
        their tokens are revoked. A session without another login is deleted. Raises StoreUnavailable: then
        call it again with what is found then.
        """
        pseudonym = new_pseudonym()
        replacing = Replacing(found.person, pseudonym, self._vault)
        act = replace(act, reason=replacing.text(act.reason))
        await self._report(EventKind.SUBJECT_ERASED, found.person.tenant, pseudonym, act)
        changed: list[Named] = [replacing.event(event) for event in found.events]
        changed += [replacing.revision(revision) for revision in found.revisions]
        changed += [replacing.draft(one.draft) for one in found.drafts]
        changed += [replacing.link(link) for link in found.links]
        for start in range(0, max(1, len(changed)), _REPLACED_AT_ONCE):
            await self._store.tenants.replace_named(changed[start : start + _REPLACED_AT_ONCE])
        ended = 0
        for one in found.logins:
            ended += await self._end_login(one.login)
            if not await self._store.list_logins(one.login.session, now=0.0):
                await self._store.delete_session(one.login.session)
        return pseudonym, ended

    async def _report(self, kind: EventKind, slug: str, target: str, act: Act) -> None:
        event = act.event(kind, tenant=slug, target=target, at=self._clock())
        await self._store.tenants.add_events([event])

    async def _logins_of(self, person: Person, count: _Count) -> list[FoundLogin]:
        found: list[Login] = []
        before = None
        while page := await self._store.tenant_logins.stored(
            person.tenant, before=before, most=_LOGINS_AT_ONCE
        ):
            found += [login for login in page if person.has_account(login.subject, login.issuer)]
            count.add(len(page))
            before = Position(page[-1].signed_in_at, page[-1].id)
        sessions, _ = await self._store.read({login.session for login in found}, (), now=0.0)
        return [FoundLogin(login, sessions.get(login.session)) for login in found]

    def _addresses(self, slug: str, logins: Sequence[FoundLogin]) -> frozenset[str]:
        """The e-mail addresses of logins."""
        live = self._tenants(slug)
        claims = {"email", live.claims.email} if live is not None else {"email"}
        values = (one.login.claims.get(claim) for one in logins for claim in claims)
        return frozenset(value for value in values if isinstance(value, str))

    def _live_issuers(self, slug: str) -> set[str]:
        live = self._tenants(slug)
        return set() if live is None else {provider.issuer for provider in live.providers.values()}

    async def _events_of(self, slug: str, count: _Count) -> AsyncIterator[Event]:
        """The events of a tenant. A page that lacks a damaged one is not the last."""
        after = ""
        while page := await self._store.tenants.read_events(tenant=slug, after=after, most=PAGE):
            count.add(len(page))
            for event in page:
                yield event
            after = page[-1].id

    async def _acts(self, count: _Count) -> AsyncIterator[Event]:
        """The acts on all tenants: operators of one act on others."""
        before = None
        while page := await self._store.tenants.list_events(before=before, most=PAGE):
            count.add(len(page))
            for event in page:
                yield event
            before = page[-1].id

    async def _with_records(
        self, found: StoredOfPerson, replacing: Replacing, count: _Count
    ) -> StoredOfPerson:
        """Add what names the person in the tenants of the database."""
        store = self._store.tenants
        revisions: list[Revision] = []
        drafts: list[FoundDraft] = []
        links: list[SetupLink] = []
        for tenant in await store.list_tenants():
            before = None
            while page := await store.list_revisions(tenant.slug, before=before, most=_REVISIONS_AT_ONCE):
                revisions += [one for one in page if replacing.revision(one) != one]
                before = page[-1].number
                count.add(len(page))
            draft = await store.get_draft(tenant.slug)
            if draft is not None and replacing.draft(draft) != draft:
                drafts.append(FoundDraft(draft, replacing.tests_of_person(draft)))
            links += [
                link for link in await store.list_setup_links(tenant.slug) if replacing.link(link) != link
            ]
        return replace(found, revisions=tuple(revisions), drafts=tuple(drafts), links=tuple(links))


class _Count:
    """How many entries were read."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._read = 0

    def add(self, read: int) -> None:
        self._read += read
        self._progress(self._read)
