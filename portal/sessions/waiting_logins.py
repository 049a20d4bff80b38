"""Logins that wait until the browser has the cookie of the session that they are for.

Two logins of a browser finished at the same moment, in two tabs. The first gave the session a new secret. The
second was stored in a session of its own, whose cookie stays here. Its tab is redirected to a further
request, which carries the cookie that the first response has set by then: only this cookie shows that both
tabs are of one browser, and the login moves to its session. A cookie from before both logins shows nothing,
since somebody else may know it (THREATS L6): without a valid one the login stays in its own session, and the
browser gets the cookie of that. A logout while it waits wins.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass, replace

import structlog

from portal.clock import Clock
from portal.errors import LoginNotStored, PortalError, StoreUnavailable, VaultError
from portal.keys.vault import Vault
from portal.oidc.errors import AttemptNotLive, AttemptUnknown
from portal.oidc.provider import Provider
from portal.sessions.credentials import SessionCookie, digest
from portal.sessions.directory import Directory, accepting_registration, live_registration
from portal.sessions.login_storing import retried
from portal.sessions.new_logins import WAITING_SECONDS, NewLogins, OpenSession, Superseded
from portal.sessions.outcomes import FinishedLogin, RequestSession, WaitingLogin
from portal.sessions.refresh import TokenRefresher
from portal.sessions.stored_attempts import AttemptKind, require_binding, state_prefix
from portal.stores.model import Login, LoginAttempt
from portal.stores.store import Store

_log = structlog.get_logger("portal.sessions")

PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds before each further request: the response with the cookie was sent at about the same time."""
_MAX_REFERENCE_CHARS = 256


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What is stored under a reference, sealed."""

    cookie: SessionCookie
    """Of the login's own session."""
    superseded: Superseded
    """The session that it waits for. A logout there also ends the login that waits."""
    tries: int
    silent: bool
    step_up: bool
    """Whether the login was silent, or for a step-up: what it may replace."""

    def encode(self) -> str:
        waits_for = [self.superseded.session, self.superseded.had_login]
        return json.dumps([self.cookie.value, waits_for, self.tries, self.silent, self.step_up])

    @classmethod
    def decode(cls, text: str) -> _Waiting:
        value, (session, had_login), tries, silent, step_up = json.loads(text)
        cookie = SessionCookie.parse(value)
        if cookie is None:
            raise ValueError("no cookie")
        superseded = Superseded(str(session), bool(had_login))
        return cls(cookie, superseded, int(tries), bool(silent), bool(step_up))


class WaitingLogins:
    """Keeps and finishes logins that wait."""

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        directory: Directory,
        tokens: TokenRefresher,
        new_logins: NewLogins,
        clock: Clock,
        open_session: OpenSession,
    ) -> None:
        self._store = store
        self._vault = vault
        self._directory = directory
        self._tokens = tokens
        self._new_logins = new_logins
        self._clock = clock
        self._open_session = open_session

    async def add(
        self,
        login: Login,
        cookie: SessionCookie,
        *,
        superseded: Superseded,
        return_to: str,
        binding: str,
        silent: bool = False,
        step_up: bool = False,
    ) -> WaitingLogin:
        """Let a login wait. Parameters: cookie, of its own session; silent and step_up, how it was asked for.

        Raises: StoreUnavailable, after its session was deleted.
        """
        waiting = _Waiting(cookie, superseded, 0, silent, step_up)
        try:
            return await self._store_waiting(
                waiting, login, return_to=return_to, binding_hash=digest(binding)
            )
        except StoreUnavailable:
            await self._delete_session(login.session, login.tenant)
            raise

    async def finish(
        self, tenant: str, reference: str, *, binding: str | None, cookie: str | None
    ) -> FinishedLogin | WaitingLogin:
        """Move a login to the session of the browser, or let it wait once more. A reference is valid once.

        When the browser has no valid cookie, the login's own session becomes that of the browser. After an
        error, the login has ended and its tokens are revoked.
        Parameters: cookie, the session cookie of the browser.
        Raises: AttemptUnknown, AttemptNotLive, when the login has ended; StoreUnavailable; LoginNotStored.
        """
        attempt, waiting = await self._take(tenant, reference, binding)
        own: RequestSession | None = None
        try:
            own = await self._open_session(waiting.cookie, tenant, extend=False)
            return await self._finish(attempt, waiting, own, cookie)
        except PortalError as error:
            if not isinstance(error, LoginNotStored):  # which has tried to delete it
                await self._delete_session(waiting.cookie.session_id, tenant)
            if own is not None and own.login is not None:
                await self._revoke(own.login)
            raise

    async def _finish(
        self, attempt: LoginAttempt, waiting: _Waiting, own: RequestSession | None, cookie: str | None
    ) -> FinishedLogin | WaitingLogin:
        provider = accepting_registration(self._directory, own.login) if own and own.login else None
        if own is None or own.login is None or provider is None:
            raise AttemptNotLive("the login ended while it waited")
        await self._require_no_logout(waiting.superseded, attempt.tenant)
        current = await self._open_session(cookie, attempt.tenant)
        if current is not None:
            finished = await self._move(own.login, provider, current, waiting, attempt.return_to)
            if finished is not None:
                return finished
        if waiting.tries < len(PAUSES) and await self._new_logins.is_superseded(cookie):
            await asyncio.sleep(PAUSES[waiting.tries])
            return await self._store_waiting(
                replace(waiting, tries=waiting.tries + 1),
                own.login,
                return_to=attempt.return_to,
                binding_hash=attempt.binding_hash,
            )
        await self._require_no_logout(waiting.superseded, attempt.tenant)  # there may be one by now
        await self._new_logins.keep(own.session)
        _log.info("login_in_new_session", tenant=attempt.tenant, provider=provider.id)
        return FinishedLogin(waiting.cookie, own.login, attempt.return_to, provider)

    async def _require_no_logout(self, superseded: Superseded, tenant: str) -> None:
        """Raises: AttemptNotLive, when the user has signed out where the login waits to be moved."""
        if await self._new_logins.has_ended(superseded, tenant):
            raise AttemptNotLive("the user has signed out while the login waited")

    async def _move(
        self, login: Login, provider: Provider, current: RequestSession, waiting: _Waiting, return_to: str
    ) -> FinishedLogin | None:
        """Move a login to the session of a request; None when another login has just replaced its secret."""
        other = current.login
        if other is not None and (other.issuer, other.subject) == (login.issuer, login.subject):
            other = None
        if other is not None and waiting.silent:  # a silent login must not replace that of another user
            raise AttemptNotLive("another user has signed in meanwhile")
        moved = await self._new_logins.move(login, self._tokens.open(login), current)
        if moved is None:
            return None
        replaced = other if waiting.step_up else None
        return FinishedLogin(moved.cookie, moved.login, return_to, provider, replaced=replaced)

    async def _store_waiting(
        self, waiting: _Waiting, login: Login, *, return_to: str, binding_hash: str
    ) -> WaitingLogin:
        reference = AttemptKind.WAITING.value + state_prefix(return_to) + secrets.token_urlsafe(32)
        key = digest(reference)
        await self._new_logins.let_wait(login.session)
        await self._store.add_attempt(
            LoginAttempt(
                id=key,
                tenant=login.tenant,
                provider=login.provider,
                registration=login.registration,
                binding_hash=binding_hash,
                nonce="",
                sealed=self._vault.seal(AttemptKind.WAITING.document(key), waiting.encode()),
                redirect_uri="",
                return_to=return_to,
                expires_at=round(self._clock() + WAITING_SECONDS, 3),
            )
        )
        return WaitingLogin(reference)

    async def _delete_session(self, session: str, tenant: str) -> None:
        """Delete the session of a login that waits no longer; if that fails, it expires soon."""
        try:
            await retried(lambda: self._store.delete_session(session))
        except StoreUnavailable as error:
            _log.warning("waiting_session_not_deleted", tenant=tenant, error=type(error).__name__)

    async def _revoke(self, login: Login) -> None:
        provider = live_registration(self._directory, login)
        if provider is not None:
            await self._tokens.revoke(self._tokens.open(login), provider)

    async def _take(self, tenant: str, reference: str, binding: str | None) -> tuple[LoginAttempt, _Waiting]:
        """Consume what is stored under a reference. Raises: AttemptUnknown, AttemptNotLive."""
        if len(reference) > _MAX_REFERENCE_CHARS or AttemptKind.of(reference) is not AttemptKind.WAITING:
            raise AttemptUnknown("the reference is not one of a login that waits")
        key = digest(reference)
        attempt = await self._store.take_attempt(
            key, tenant=tenant, binding_hash=digest(require_binding(binding)), now=self._clock()
        )
        if attempt is None:
            raise AttemptNotLive("no login waits under this reference in this browser")
        try:
            return attempt, _Waiting.decode(
                self._vault.open(AttemptKind.WAITING.document(key), attempt.sealed)
            )
        except (VaultError, ValueError, TypeError) as error:
            raise AttemptUnknown("what waits cannot be opened") from error
