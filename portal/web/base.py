"""Base classes of handlers: security headers, errors, access log, and the common parts of pages."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Awaitable, Callable
from functools import cached_property
from types import TracebackType
from typing import Any, cast

import structlog
from tornado.web import HTTPError

from portal.admin.viewers import NOBODY, Viewer
from portal.display_text import display_text
from portal.errors import CrossSiteRequest, NotFound, OutboundRefused, PortalError
from portal.oidc.provider import Provider
from portal.secret import Secret
from portal.sentences import message
from portal.sessions.credentials import is_binding, new_binding
from portal.sessions.service import RequestSession
from portal.stores.model import Login
from portal.tenancy.model import Tenant
from portal.web.cards import tenant_card
from portal.web.cookies import (
    BINDING_COOKIE,
    LANGUAGE_COOKIE,
    POSTED_BINDING_COOKIE,
    REMEMBERED_COOKIE,
    SESSION_COOKIE,
    read_cookie,
    set_cookie_header,
)
from portal.web.counted_handler import CountedHandler
from portal.web.languages import Language
from portal.web.logged_path import logged_path
from portal.web.origin import Origin, origin_of
from portal.web.problems import PROBLEM_HEADERS, counted_error, log_failure, prefers_json, problem
from portal.web.redirects import leads_to_api
from portal.web.remembered import Remembered
from portal.web.server.request_body import refusal_of
from portal.web.session_notice import session_notice
from portal.web.sign_in_window import advice_in_window, of_window
from portal.web.sites import Site
from portal.web.switching import kept_page, people_of, sign_in_again
from portal.web.tenant_style import logo_url, page_style_url
from portal.web.views import Chrome, ErrorPage, SignInAgain, TenantCard

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class PortalHandler(CountedHandler):
    """A handler of the portal: errors are problem+json unless a subclass shows pages."""

    _cookies: dict[str, str] | None = None
    """The Set-Cookie headers of the response by the cookie's name; None before the first."""

    @cached_property
    def site(self) -> Site:
        """The site of the request's Host header; also set for malformed requests."""
        return self.portal.sites.find(self.request.host)

    def set_default_headers(self) -> None:
        self.assign_request_id()
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "same-origin")
        self.set_header("Cache-Control", "no-store")

    async def prepare(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Refuse requests that another site could have sent (docs/architecture.md rule 4)."""
        self.count()
        if (refusal := refusal_of(self.request.connection)) is not None:
            raise refusal
        if self.request.method not in _SAFE_METHODS:
            self.require_own_origin()

    def require_own_origin(self) -> None:
        """Raise CrossSiteRequest unless the request comes from the portal's origin.

        Without origin headers, a valid XSRF token is required.
        """
        origin = origin_of(self.request.headers, self.site.origin)
        if origin is Origin.UNKNOWN:
            self.require_xsrf_token()
        elif origin is Origin.OTHER:
            raise CrossSiteRequest("the request names another origin")

    def require_xsrf_token(self) -> None:
        try:
            self.check_xsrf_cookie()
        except HTTPError as error:
            raise CrossSiteRequest("no origin header and no XSRF token") from error

    # --- contents of the request

    def device(self) -> str:
        """The User-Agent header as display text."""
        return display_text(self.request.headers.get("User-Agent", ""), limit=120)

    def tenant(self, slug: str) -> Tenant:
        """Return the tenant with this slug on this site. Raises NotFound."""
        tenant = self.portal.registry.get(slug)
        if tenant is None or not self.site.serves(slug):
            raise NotFound(f"no tenant {slug!r} at {self.site.origin}")
        structlog.contextvars.bind_contextvars(tenant=slug)
        return tenant

    def read_cookie(self, name: str) -> str | None:
        """Return a cookie's value; None when it is missing or sent more than once (THREATS S2)."""
        return read_cookie(self.request.headers, self.site.cookie_name(name))

    def send_cookie(
        self, name: str, value: Secret, *, max_age: int | None = None, cross_site: bool = False
    ) -> None:
        """Set an HttpOnly cookie: SameSite=None if `cross_site`, else SameSite=Lax.

        Browsers accept SameSite=None only with Secure, and accept Secure over http on loopback.
        """
        name = self.site.cookie_name(name)
        if self._cookies is None:
            self._cookies = {}
        self._cookies[name] = set_cookie_header(
            name,
            value.reveal(),
            max_age=max_age,
            secure=self.site.secure or cross_site,
            same_site="None" if cross_site else "Lax",
        )

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> Future[None]:
        """Send the response. Cookies that were set before an error are sent with the error, as Tornado's."""
        if self._cookies is not None:
            for cookie in self._cookies.values():
                self.add_header("Set-Cookie", cookie)
        return super().finish(chunk)

    def redirect(self, url: str, permanent: bool = False, status: int | None = None) -> None:
        """Redirect the browser. Raises: OutboundRefused when the URL leads to an API of the portal."""
        if leads_to_api(url, self.site.origin):
            raise OutboundRefused("a redirect leads to an API of the portal")
        super().redirect(url, permanent, status)

    def drop_cookie(self, name: str) -> None:
        self.clear_cookie(
            self.site.cookie_name(name), path="/", httponly=True, secure=self.site.secure, samesite="Lax"
        )

    def session_cookie(self) -> str | None:
        return self.read_cookie(SESSION_COOKIE)

    def ensure_binding(self) -> str:
        """Return this browser's binding; set its cookie, or extend it, to ten minutes from now."""
        binding = self.read_cookie(BINDING_COOKIE)
        if not is_binding(binding):
            binding = new_binding()
        self.send_cookie(BINDING_COOKIE, Secret(binding), max_age=600)
        return binding

    def bind_attempt(self, provider: Provider) -> str:
        """Return the binding for a login attempt, and set the cookies that its response will carry."""
        binding = self.ensure_binding()
        if provider.response_mode.posted:
            self.send_cookie(POSTED_BINDING_COOKIE, Secret(binding), max_age=600, cross_site=True)
        return binding

    async def open_session(self, tenant: str | None = None) -> RequestSession | None:
        return await self.portal.sessions.open_session(self.session_cookie(), tenant)

    # --- errors

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = counted_error(self, self.portal.metrics.limits, status_code, kwargs.get("exc_info"))
        self.set_status(error.status)
        if error.retry_after is not None:
            self.set_header("Retry-After", str(error.retry_after))
        self.render_error(error)

    def render_error(self, error: PortalError) -> None:
        """Send application/problem+json (RFC 9457)."""
        for name, value in PROBLEM_HEADERS:
            self.set_header(name, value)
        self.finish(problem(error, self.request_id))

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        log_failure(value, tb, path=logged_path(self.request.path))

    def compute_etag(self) -> None:
        return None


class PageHandler(PortalHandler):
    """A handler that shows pages. Loads the session and its logins before the method runs."""

    shows_page = True
    """Whether a GET of this path without a query is safe to redirect to: it shows a page or redirects to one,
    and starts nothing."""
    request_session: RequestSession | None = None
    logins: tuple[Login, ...] = ()
    viewer: Viewer = NOBODY
    _cards: tuple[tuple[Login, ...], tuple[TenantCard, ...]] | None = None
    """The logins that the cards were made of, and the cards."""

    @property
    def path_tenant(self) -> str | None:
        """The tenant in the request's path; None when the request is malformed."""
        return cast(dict[str, str], getattr(self, "path_kwargs", {})).get("tenant")

    def set_default_headers(self) -> None:
        super().set_default_headers()
        # Browsers apply form-action to every redirect after a form, such as a sign-out that leads to a
        # provider. The policy must cover every provider URL that a tenant file may have:
        # `outbound.url_rules.check_url` allows http for loopback hosts, and a policy cannot name all of them
        # ([::1] is not a valid host-source).
        redirects = "https: http:" if self.portal.settings.allow_private_networks else "https:"
        self.set_header(
            "Content-Security-Policy",
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            f"connect-src 'self'; form-action 'self' {redirects}; "
            "frame-ancestors 'none'; base-uri 'none'",
        )
        self.set_header("X-Frame-Options", "DENY")
        self.set_header("Cross-Origin-Opener-Policy", "same-origin")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.set_header("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=()")

    async def prepare(self) -> None:
        self.begin()
        self.send_strict_transport_security()
        self.request_session = await self.open_session(self.path_tenant)
        if self.request_session is not None:
            self.logins = tuple(await self.portal.sessions.logins(self.request_session.session))
        self.viewer = await self.portal.admin.viewers.of(self.logins)

    def _head(self, *arguments: str, **named: str) -> Awaitable[None] | None:
        return self.get(*arguments, **named)

    head: Callable[..., Awaitable[None] | None] = _head
    """As GET; only the header fields are sent (RFC 9110 9.3.2). Addresses whose GET has an effect differ."""

    @cached_property
    def remembered(self) -> tuple[Remembered, ...]:
        """The organisations that were used on this browser, the last used first."""
        return self.portal.remembered.read(self.read_cookie(REMEMBERED_COOKIE), self.site.origin)

    @cached_property
    def requested_language(self) -> Language | None:
        """The language that the reader asks for; None if there are no texts in it."""
        return self.portal.languages.requested(
            self.request.headers.get("Accept-Language", ""),
            ui_locales=(self.request.query_arguments.get("ui_locales") or [b""])[0].decode("latin-1"),
            chosen=self.read_cookie(LANGUAGE_COOKIE) or "",
        )

    @property
    def language(self) -> Language:
        """The language of the page (docs/decisions/079)."""
        return self.requested_language or self.portal.languages.all[0]

    def send_strict_transport_security(self) -> None:
        """Send Strict-Transport-Security when the site uses https (RFC 6797)."""
        if self.site.secure:
            self.set_header("Strict-Transport-Security", "max-age=31536000")

    def cards(self) -> tuple[TenantCard, ...]:
        """The tenants that this browser is signed in to, sorted by name."""
        if self._cards is None or self._cards[0] is not self.logins:
            self._cards = (self.logins, self._make_cards())
        return self._cards[1]

    def card(self, tenant: Tenant, login: Login | None = None) -> TenantCard:
        """The card of a tenant, with its logo if that is here. Parameters: as `tenant_card`."""
        logo = logo_url(tenant, self.portal.logos.now(tenant))
        return tenant_card(tenant, login, logo_url=logo, warns=self.portal.admin.health.warns)

    def _make_cards(self) -> tuple[TenantCard, ...]:
        found = [
            self.card(tenant, login)
            for login in self.logins
            if (tenant := self.portal.registry.get(login.tenant)) and self.site.serves(login.tenant)
        ]
        return tuple(sorted(found, key=lambda card: card.name.casefold()))

    def again(self) -> tuple[SignInAgain, ...]:
        """The organisations that were used on this browser, where nobody is signed in now."""
        return sign_in_again(
            self.remembered,
            signed_in=self.cards(),
            tenant_of=lambda slug: self.portal.registry.get(slug) if self.site.serves(slug) else None,
            card_of=self.card,
            page=kept_page(self.request.path),
        )

    def chrome(self) -> Chrome:
        cards, path_tenant = self.cards(), self.path_tenant
        current = next((card for card in cards if card.slug == path_tenant), None)
        if current is None and path_tenant:
            tenant = self.portal.registry.get(path_tenant)
            current = self.card(tenant) if tenant and self.site.serves(tenant.slug) else None
        made = Chrome(
            signed_in=cards,
            people=people_of(cards),
            again=self.again(),
            kept_page=kept_page(self.request.path),
            current=current,
            xsrf_token=self.xsrf_token.decode(),
            request_id=self.request_id,
            path=self.request.path,
            console_url="/admin/" if self.viewer.opens_console and self.site.tenant is None else None,
            product=self.portal.product.view,
            tenant_style_url=page_style_url(self.portal.registry.get, current, self.request.path),
            session=session_notice(self.request_session, path_tenant, cards, self.portal.clock()),
        )
        return of_window(made) if self.in_window else made

    @property
    def in_window(self) -> bool:
        """Whether the page is in the window that portal.js opens for a sign-in."""
        return False

    def show(self, template: str, page: object, **more: object) -> None:
        """Render a page. Parameters: more, further objects for the template, or others (`languages`)."""
        source, language = self.portal.templates.load(template), self.language
        self.set_header("Content-Language", language.tag)
        self.set_header("Vary", "Accept-Language, Cookie")
        namespace = language.namespace | {"languages": self.portal.languages.all} | more
        self.finish(source.generate(page=page, chrome=self.chrome(), static_url=self.static_url, **namespace))

    def render_error(self, error: PortalError) -> None:
        if prefers_json(self.request.headers):
            super().render_error(error)
            return
        self.show(
            "error.html",
            ErrorPage(
                status=error.status,
                title=error.title,
                explanation=error.explanation or "",
                advice=advice_in_window(error) if self.in_window else error.advice,
                request_id=self.request_id,
                retry_url=self.retry_url(error),
                retry_label=self.retry_label(error),
            ),
        )

    def retry_url(self, error: PortalError) -> str | None:
        """The URL of the error page's button; None for no button."""
        return None if error.status in {403, 404, 405} else "/"

    def retry_label(self, error: PortalError) -> str:
        return message("Back to the start")
