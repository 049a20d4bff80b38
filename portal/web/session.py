"""`/session`: who is signed in, and until when, as JSON for scripts of pages. Never a token."""

from __future__ import annotations

import hashlib
import json
import math
from asyncio import Future
from collections.abc import Sequence

from tornado.httputil import format_timestamp

from portal.errors import CrossSiteRequest
from portal.stores.model import Login, Session
from portal.tenancy.model import Tenant
from portal.time_slices import in_slices
from portal.web.base import PortalHandler
from portal.web.cards import roles_of, user_name
from portal.web.cookies import LANGUAGE_COOKIE
from portal.web.origin import CSRF_HEADER
from portal.web.server.client_connection import abort
from portal.web.session_streams import EventStream

_LONGEST_CLAIM = 4096
"""Bytes of a claim's value as JSON. A longer one is left out: a part of it would be another value."""
_LONGEST_CLAIMS = 16 * 1024
"""Bytes of the claims of a login."""


class SessionReadingHandler(PortalHandler):
    """A request that reads a session without extending it, for pages of the portal's own origin only."""

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.set_header("Vary", "Accept-Language, Cookie")

    async def prepare(self) -> None:
        await super().prepare()
        self.require_own_page()

    def require_own_page(self) -> None:
        """Raise CrossSiteRequest when a page of another origin sent this request (Fetch Metadata).

        `none`: the user entered the address. Without these headers, browsers let no other page read the
        response.
        """
        headers = self.request.headers
        sites, origins = headers.get_list("Sec-Fetch-Site"), headers.get_list("Origin")
        if sites not in ([], ["same-origin"], ["none"]) or origins not in ([], [self.site.origin]):
            raise CrossSiteRequest("the session was requested by another origin")

    async def find_session(self) -> tuple[Session | None, list[Login]]:
        """The session of this request, and its logins on this site. Does not extend it."""
        found = await self.portal.sessions.open_session(self.session_cookie(), extend=False)
        if found is None:
            return None, []
        logins = await self.portal.sessions.logins(found.session)
        return found.session, [login for login in logins if self.site.serves(login.tenant)]


class SessionHandler(SessionReadingHandler):
    """`GET /session` reads it; `POST /session` extends the idle limits of the session and its logins."""

    async def get(self) -> None:
        body = await self._body(*await self.find_session())
        self.set_header("ETag", f'W/"{hashlib.sha256(body.encode()).hexdigest()[:32]}"')
        if self.check_etag_header():  # RFC 9110 13.1.2: by weak comparison
            self.set_status(304)
            return
        self.finish(body)

    async def post(self) -> None:
        if self.request.headers.get(CSRF_HEADER) != "1":
            self.require_xsrf_token()
        session, logins = await self.find_session()
        if session is not None:
            session, logins = await self.portal.sessions.extend(session, logins)
        self.finish(await self._body(session, logins))

    async def _body(self, session: Session | None, logins: Sequence[Login]) -> str:
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.set_header("Date", format_timestamp(self.portal.clock()))
        tenants = [
            json.dumps(_login_entry(tenant, login))
            async for login in in_slices(logins)
            if (tenant := self.portal.registry.get(login.tenant))
        ]
        ends, language = json.dumps(_session_entry(session)), json.dumps(self._language())
        return f'{{"tenants": [{", ".join(tenants)}], "session": {ends}, "language": {language}}}'

    def _language(self) -> str:
        """The language of the portal's pages for this reader, as a tag of BCP 47 (docs/decisions/079)."""
        found = self.portal.languages.requested(
            self.request.headers.get("Accept-Language", ""), chosen=self.read_cookie(LANGUAGE_COOKIE) or ""
        )
        return (found or self.portal.languages.all[0]).tag


class SessionEventsHandler(SessionReadingHandler):
    """`GET /session/events`: what happens to the session, as server-sent events. Does not extend it."""

    _stream: EventStream | None = None

    async def get(self) -> None:
        session, logins = await self.find_session()
        if session is None:
            self.set_status(204)  # the browser does not connect again
            return
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("X-Accel-Buffering", "no")
        streams = self.portal.session_streams
        self._stream = stream = streams.open(session, logins, self, self.site.serves)
        try:
            await stream.over.wait()
        finally:
            streams.remove(stream)

    def send(self, text: str) -> Future[None]:
        """Send a part of the stream."""
        self.write(text)
        return self.flush()

    def abort(self) -> None:
        """Disconnect the client."""
        abort(self.request.connection)

    def on_connection_close(self) -> None:
        if self._stream is not None:
            self._stream.over.set()


def _session_entry(session: Session | None) -> dict[str, float] | None:
    if session is None:
        return None
    return {"expires_at": session.absolute_expires_at, "idle_expires_at": session.idle_expires_at}


def _login_entry(tenant: Tenant, login: Login) -> dict[str, object]:
    return {
        "slug": tenant.slug,
        "name": tenant.name,
        "user": user_name(tenant, login),
        "roles": roles_of(tenant, login),
        "claims": claims_for_pages(tenant, login),
        "access_expires_at": login.access_expires_at,
        "signed_in_at": login.signed_in_at,
        "expires_at": login.expires_at,
        "login_url": f"/t/{tenant.slug}/login",
        "logout_url": f"/t/{tenant.slug}/logout",
    }


def claims_for_pages(tenant: Tenant, login: Login) -> dict[str, object]:
    """The claims of a user that the tenant lets pages see (`claims.page`), without too long ones."""
    found: dict[str, object] = {}
    left: float = _LONGEST_CLAIMS
    for name in tenant.claims.page:
        if name in login.claims:
            size = _size(login.claims[name]) + len(name)
            if size <= min(left, _LONGEST_CLAIM):
                found[name] = login.claims[name]
                left -= size
    return found


def _size(value: object) -> float:
    """Bytes of a claim's value as JSON; infinite for a number that JSON cannot write, such as 1e999."""
    try:
        return len(json.dumps(value, allow_nan=False))
    except ValueError:
        return math.inf
