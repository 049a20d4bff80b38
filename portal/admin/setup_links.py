"""Setup links: with one, somebody who has no login sets up one tenant of the database.

The URL of a link has a random token, of which the database has the SHA-256 only. The first browser that opens
the link is bound to it by a cookie; no other browser can use it. See
docs/decisions/058-a-setup-link-is-bound-by-a-button.md.
"""

from __future__ import annotations

import re
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from portal.admin.actors import Actor, ActorType
from portal.admin.events import Act, EventKind, Outcome
from portal.admin.organisation_name import organisation_name
from portal.admin.setup_cookie import BrowserLink, SetupCookie, digest
from portal.admin.setup_link_errors import (
    SetupCookieMissing,
    SetupLinkEnded,
    SetupLinkMissing,
    SetupLinkRevoked,
    SetupLinkTaken,
    SetupLinkUnknown,
    TooManySetupLinks,
)
from portal.admin.tenants import TenantInFile
from portal.admin.viewers import BoundSetupLink
from portal.clock import Clock
from portal.errors import PortalError
from portal.secret import Secret
from portal.stores.tenant_records import Event, SetupLink, TenantRecord, TenantStatus
from portal.stores.tenant_store import TenantStore

DEFAULT_SECONDS = 7 * 86_400.0
SHORTEST_SECONDS = 3600.0
LONGEST_SECONDS = 90 * 86_400.0
LONGEST_NAME = 100
"""Characters of the name of whoever a link is for."""
MOST_LIVE = 50
"""Live setup links of one tenant."""
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_LINK_ID = re.compile(r"[0-9a-f]{12}")
_REPORTED_SECONDS = 60.0
_MOST_REPORTED = 1000


class LinkState(StrEnum):
    """What can be done with a setup link."""

    NOT_OPENED = "not opened"
    OPENED = "opened"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class MadeLink:
    """A new setup link. Its URL cannot be shown again."""

    link: SetupLink
    url: Secret


@dataclass(frozen=True, slots=True)
class FoundLink:
    """A live setup link, and what this browser's cookie has of it, if anything."""

    link: SetupLink
    own: BrowserLink | None
    bound: bool
    """Whether it is bound to this browser; else it is not bound at all."""


class SetupLinks:
    """Makes, lists, revokes and opens setup links.

    Parameters: public_url, of the portal; file_of, the tenant file with a slug, if there is one; clock, that
    of the database.
    """

    def __init__(
        self, store: TenantStore, *, public_url: str, file_of: Callable[[str], Path | None], clock: Clock
    ) -> None:
        self._store = store
        self._public_url = public_url
        self._file_of = file_of
        self._clock = clock
        self._reported: OrderedDict[str, float] = OrderedDict()

    # --- for operators

    async def make(
        self, slug: str, act: Act, *, name: str = "", seconds: float = DEFAULT_SECONDS
    ) -> MadeLink:
        """Make a setup link for a tenant, which is made when it is not in the database.

        Parameters: name, who it is for, in one line; seconds, how long it is valid: 1 hour to 90 days.
        Raises: ValueError, TenantInFile, TooManySetupLinks, SetupLinkMissing when the tenant is removed
        meanwhile, StoreUnavailable.
        """
        if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
            raise ValueError("a setup link is valid for 1 hour to 90 days")
        if len(name) > LONGEST_NAME or not name.isprintable():
            raise ValueError(f"the name of a setup link is one line of at most {LONGEST_NAME} characters")
        file = self._file_of(slug)
        if file is not None:
            raise TenantInFile(f"{file.parent.name}/{file.name}")
        now, token = self._clock(), secrets.token_urlsafe(32)
        if sum(self.state(link) in _LIVE for link in await self.of_tenant(slug)) >= MOST_LIVE:
            raise TooManySetupLinks(f"{slug} has {MOST_LIVE} live setup links")
        link = SetupLink(
            id=secrets.token_hex(6),
            tenant=slug,
            token_hash=digest(token),
            name=name,
            author=act.actor.as_json(),
            browser_hash="",
            created_at=now,
            expires_at=round(now + seconds, 3),
            revoked_at=0.0,
        )
        made_at = await self._ensure_tenant(slug, act)
        event = act.event(EventKind.SETUP_LINK_MADE, tenant=slug, target=_target(link), at=now)
        if not await self._store.add_setup_link(link, event=event, made_at=made_at):
            raise SetupLinkMissing(f"the tenant {slug} was removed meanwhile")
        return MadeLink(link, Secret(f"{self._public_url}/setup/{token}"))

    async def of_tenant(self, slug: str) -> list[SetupLink]:
        """The setup links of a tenant, the newest first. Raises StoreUnavailable."""
        return await self._store.list_setup_links(slug)

    async def revoke(self, slug: str, link_id: str, act: Act) -> None:
        """Revoke a setup link: whoever uses it is refused from now on.

        Raises: SetupLinkMissing for one that is revoked already or does not exist, StoreUnavailable.
        """
        now = self._clock()
        event = act.event(EventKind.SETUP_LINK_REVOKED, tenant=slug, target=f"setup link {link_id}", at=now)
        if not await self._store.revoke_setup_link(link_id, tenant=slug, at=now, event=event):
            raise SetupLinkMissing(f"{slug} has no live setup link {link_id}")

    def state(self, link: SetupLink) -> LinkState:
        """What can be done with a link now."""
        if link.revoked_at:
            return LinkState.REVOKED
        if link.expires_at <= self._clock():
            return LinkState.EXPIRED
        return LinkState.OPENED if link.browser_hash else LinkState.NOT_OPENED

    # --- for who has a link

    async def find(self, token: str, cookie: SetupCookie, request: Act) -> FoundLink:
        """Find the live link of a token that this browser may use or open. Changes nothing.

        Parameters: request, an act whose actor does not matter, for the event of a refusal.
        Raises: SetupLinkUnknown, SetupLinkEnded, SetupLinkRevoked, SetupLinkTaken, StoreUnavailable.
        """
        if not is_token(token):
            raise SetupLinkUnknown("not of the form of a token")
        link = await self._store.find_setup_link(digest(token))
        if link is None:
            await self._report_refusal(None, replace(request, reason="unknown token"))
            raise SetupLinkUnknown("no link has this token")
        own = cookie.find(link.token_hash)
        bound = own is not None and own.is_bound(link.browser_hash)
        refusal = self._refusal(link, bound=bound)
        if refusal is not None:
            await self._report_refusal(link, replace(request, reason=refusal.detail))
            raise refusal
        return FoundLink(link, own, bound)

    async def open(self, token: str, cookie: SetupCookie, request: Act) -> tuple[SetupLink, SetupCookie]:
        """Bind a link to this browser, or use it again there; return the link and the new cookie.

        Parameters and errors as `find`; also raises SetupCookieMissing.
        """
        found = await self.find(token, cookie, request)
        if found.own is None:
            raise SetupCookieMissing(f"setup link {found.link.id}")
        if found.bound:
            await self._report_reopened(found.link, request)
        else:
            await self._bind(token, found.link, found.own, cookie, request)
        return found.link, cookie.with_used(found.own)

    async def bound(self, cookie: str) -> BoundSetupLink | None:
        """The live link that a browser uses; None when it has none. Raises StoreUnavailable.

        While its tenant is suspended, a link opens nothing, as the logins of its admins.
        Parameters: cookie, its value, as the browser sent it.
        """
        own = SetupCookie.parse(cookie).current
        if own is None:
            return None
        link = await self._store.find_setup_link(own.token_hash)
        if link is None or self.state(link) is not LinkState.OPENED or not own.is_bound(link.browser_hash):
            return None
        tenant = await self._store.get_tenant(link.tenant)
        if tenant is None or tenant.status == TenantStatus.SUSPENDED:
            return None
        return BoundSetupLink(link.tenant, link_actor(link).subject)

    async def organisation(self, slug: str) -> str:
        """The name of a tenant in its draft, or one like its slug. Raises StoreUnavailable."""
        draft = await self._store.get_draft(slug)
        return organisation_name(slug, draft.content if draft is not None else "")

    async def _bind(
        self, token: str, link: SetupLink, own: BrowserLink, cookie: SetupCookie, request: Act
    ) -> None:
        now = self._clock()
        act = replace(request, actor=link_actor(link))
        event = act.event(EventKind.SETUP_LINK_OPENED, tenant=link.tenant, target=_target(link), at=now)
        opened = await self._store.bind_setup_link(
            link.token_hash, browser_hash=own.browser_hash, now=now, event=event
        )
        if opened:
            return
        found = await self.find(token, cookie, request)  # raises when another browser was faster
        if not found.bound:
            raise SetupLinkTaken("another browser opened it at the same time")

    def _refusal(self, link: SetupLink, *, bound: bool) -> PortalError | None:
        match self.state(link):
            case LinkState.REVOKED:
                return SetupLinkRevoked("revoked")
            case LinkState.EXPIRED:
                return SetupLinkEnded("expired")
            case LinkState.OPENED if not bound:
                return SetupLinkTaken("another browser")
            case _:
                return None

    async def report_other_tenant(self, link: BoundSetupLink, act: Act) -> None:
        """Record that a link was tried for another tenant than its own; at most once a minute for each link.

        Parameters: act, its actor is the link. Raises StoreUnavailable.
        """
        if self._is_due(f"other tenant:{link.subject}"):
            await self._store.add_events([self._refusal_event(act, tenant=link.tenant)])

    async def _report_refusal(self, link: SetupLink | None, act: Act) -> None:
        """Record a refusal. Whoever has a link, or guesses, can cause as many as they like."""
        if not self._is_due(f"refused:{link.id if link is not None else ''}"):
            return
        if link is None:
            event = self._refusal_event(act)
        else:
            by_link = replace(act, actor=link_actor(link))
            event = self._refusal_event(by_link, tenant=link.tenant, target=_target(link))
        await self._store.add_events([event])

    async def _report_reopened(self, link: SetupLink, act: Act) -> None:
        if self._is_due(f"reopened:{link.id}"):
            kind, by_link = EventKind.SETUP_LINK_REOPENED, replace(act, actor=link_actor(link))
            event = by_link.event(kind, tenant=link.tenant, target=_target(link), at=self._clock())
            await self._store.add_events([event])

    def _refusal_event(self, act: Act, *, tenant: str = "", target: str = "") -> Event:
        kind, at = EventKind.SETUP_LINK_REFUSED, self._clock()
        return act.event(kind, tenant=tenant, target=target, at=at, outcome=Outcome.REFUSED)

    def _is_due(self, key: str) -> bool:
        """Whether an event was not recorded within the last minute, by this process; it is now."""
        now = self._clock()
        if now - self._reported.get(key, float("-inf")) < _REPORTED_SECONDS:
            return False
        self._reported[key] = now
        self._reported.move_to_end(key)
        if len(self._reported) > _MOST_REPORTED:
            self._reported.popitem(last=False)
        return True

    async def _ensure_tenant(self, slug: str, act: Act) -> float | None:
        """Return when the tenant was made; None: by somebody else, now."""
        found = await self._store.get_tenant(slug)
        if found is not None:
            return found.created_at
        now = self._clock()
        record = TenantRecord(slug, TenantStatus.LIVE, live=0, created_at=now, changed_at=now)
        event = act.event(EventKind.TENANT_ADDED, tenant=slug, at=now)
        return now if await self._store.add_tenant(record, event=event) else None


_LIVE = frozenset({LinkState.NOT_OPENED, LinkState.OPENED})


def is_token(text: str) -> bool:
    """Whether a text has the form of a token of a setup link."""
    return _TOKEN.fullmatch(text) is not None


def is_link_id(text: str) -> bool:
    """Whether a text has the form of the id of a setup link."""
    return _LINK_ID.fullmatch(text) is not None


def link_actor(link: SetupLink) -> Actor:
    """Who has a link, in events: the name that it was made for and its id."""
    return Actor(ActorType.SETUP_LINK, f"{link.name} ({link.id})" if link.name else link.id)


def _target(link: SetupLink) -> str:
    return f"setup link {link.id}"
