"""The data of each page. Templates receive these objects and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlencode

from tornado.escape import xhtml_escape

from portal.config.product import DEFAULT_NAME
from portal.web.explorer_views import Explorer
from portal.web.kept_form import KeptForm
from portal.web.markup import Markup


class TenantCard(NamedTuple):
    """A tenant in the chooser and the switcher.

    A page may have a hundred, and a frozen dataclass takes three times as long to make.
    """

    slug: str
    name: str
    initials: str
    color: str
    """Always a safe `#rrggbb`."""
    signed_in: bool
    user: str = ""
    """The name of the signed-in user; empty when not signed in."""
    logo_url: str = ""
    """Where the portal serves the tenant's logo; empty when there is none yet."""
    closed: bool = False
    """Whether the tenant accepts no new logins."""
    direct: bool = False
    """Whether it has one provider, so that a link can lead there at once."""
    email: str = ""
    """The user's e-mail address, if the provider has verified it."""

    @property
    def home_url(self) -> str:
        return f"/t/{self.slug}/"

    @property
    def login_url(self) -> str:
        return f"/t/{self.slug}/login"

    @property
    def card_url(self) -> str:
        """Where its card leads: to the provider at once, if a click there can only mean to sign in."""
        return self.login_url if self.direct and not self.signed_in and not self.closed else self.home_url

    @property
    def developer_url(self) -> str:
        return f"/t/{self.slug}/developer"

    @property
    def ink(self) -> str:
        """Black or white: the one with more contrast to `color`, at least 4.5:1 (WCAG 2.2, 1.4.3)."""
        return _ink(self.color)

    @property
    def avatar(self) -> Markup:
        """The tenant's logo, or else its initials on a square of its colour."""
        if self.logo_url:
            return _picture(self.logo_url)
        return _avatar(self.color, self.initials[:2])


@lru_cache(maxsize=1_000)
def _ink(color: str) -> str:
    channels = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "#000000" if luminance > 0.179 else "#ffffff"


@lru_cache(maxsize=1_000)
def _avatar(color: str, initials: str) -> Markup:
    return Markup(
        '<svg class="avatar" viewBox="0 0 40 40" aria-hidden="true" focusable="false">'
        f'<rect x=".5" y=".5" width="39" height="39" rx="10" fill="{xhtml_escape(color)}"/>'
        f'<text x="20" y="20" dy=".35em" text-anchor="middle" fill="{xhtml_escape(_ink(color))}">'
        f"{xhtml_escape(initials)}</text></svg>".encode()
    )


@lru_cache(maxsize=1_000)
def _picture(url: str) -> Markup:
    return Markup(
        f'<img class="avatar avatar-logo" src="{xhtml_escape(url)}" width="40" height="40" alt="">'.encode()
    )


class Person(NamedTuple):
    """The organisations at which a browser is signed in as the same person, as far as their claims say."""

    name: str
    cards: tuple[TenantCard, ...]


class SignInAgain(NamedTuple):
    """An organisation that was used on this browser, where nobody is signed in now."""

    card: TenantCard
    url: str
    """Starts a sign-in that needs no form while the user's session at the provider is alive."""


@dataclass(frozen=True, slots=True)
class ProductView:
    """What the operator's settings say about the product; the portal's own name and logo by default."""

    name: str = DEFAULT_NAME
    style_url: str | None = None
    """None: the pages need no rules beside portal.css."""
    logo_url: str | None = None
    logo_type: str = ""
    logo_width: int = 0
    """In CSS pixels, at a height of 32."""
    color: str | None = None
    """Always a safe `#rrggbb`."""
    support_url: str | None = None
    support_email: str | None = None
    support_mailto: str | None = None
    """`support_email` as a URL."""
    legal_url: str | None = None


@dataclass(frozen=True, slots=True)
class SessionNotice:
    """What a page says before and after the end of the session."""

    ends_in: int
    """Seconds, when the page was made."""
    tenant: str
    """The slug of the page's own tenant, whose login counts as well; empty for none."""
    sign_in_at: tuple[TenantCard, ...]
    """Where the reader can sign in again after the end."""


@dataclass(frozen=True, slots=True)
class Chrome:
    """Header, switcher and other common parts of every page."""

    signed_in: tuple[TenantCard, ...] = ()
    """For the switcher in the header: tenants with a live login, in order of name."""
    people: tuple[Person, ...] = ()
    """The same tenants, by the person who is signed in there."""
    again: tuple[SignInAgain, ...] = ()
    """Tenants that were used on this browser, the last used first."""
    kept_page: str = ""
    """The end of the URL of a tenant's page that other tenants have as well, such as `developer`."""
    current: TenantCard | None = None
    xsrf_token: str = ""
    """Value of the hidden field `_xsrf` of every form."""
    request_id: str = ""
    path: str = "/"
    console_url: str | None = None
    """None: the console is not shown to this viewer, or not on this site."""
    product: ProductView = field(default_factory=ProductView)
    tenant_style_url: str | None = None
    """The style sheet with the colour of the tenant whose own page this is."""
    session: SessionNotice | None = None
    """None for a reader who is not signed in."""
    window: bool = False
    """Whether the page is in the window that portal.js opens for a sign-in, and leads nowhere else."""


@dataclass(frozen=True, slots=True)
class ChooserPage:
    """`GET /` and `POST /find`: the user's organisations, and ways to find others."""

    signed_in: tuple[TenantCard, ...]
    again: tuple[SignInAgain, ...] = ()
    mode: str = "search"
    """The setting `chooser`."""
    query: str = ""
    """What was typed: a name, or a work e-mail address; or empty."""
    found: tuple[TenantCard, ...] = ()
    """Those on this page of the results."""
    total: int = 0
    """How many there are on all pages."""
    number: int = 1
    """Of this page of the results."""
    pages: int = 1
    address: str = ""
    """A work e-mail address of several organisations, one of which the user chooses."""

    def url_of(self, number: int) -> str:
        """The URL of a page of the results. Only a list has several: its URL never has an e-mail address."""
        return "/?" + urlencode({"q": self.query, "page": number} if self.query else {"page": number})


@dataclass(frozen=True, slots=True)
class ClaimRow:
    name: str
    value: str
    """Bounded text."""


@dataclass(frozen=True, slots=True)
class ProviderChoice:
    id: str
    label: str
    login_url: str
    unhealthy: bool = False
    """Whether all calls of the portal have failed there for some time: a sign-in may fail."""


class HomeLink(NamedTuple):
    """An application of a tenant. The URL is https, or a path of this site."""

    title: str
    url: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class TenantHomePage:
    """`GET /t/{tenant}/` for a signed-in user."""

    tenant: TenantCard
    user: str
    email: str
    roles: tuple[str, ...]
    home_url: str
    """The organisation's main application; empty when the tenant file names none."""
    links: tuple[HomeLink, ...]
    others: tuple[TenantCard, ...]
    """The other organisations that this browser is signed in to."""


@dataclass(frozen=True, slots=True)
class DeveloperPage:
    """`GET /t/{tenant}/developer` for a signed-in user."""

    tenant: TenantCard
    user: str
    email: str
    subject: str
    issuer: str
    provider_label: str
    roles: tuple[str, ...]
    """Value of the claim that `claims.roles` configures."""
    claims: tuple[ClaimRow, ...]
    scopes: tuple[str, ...]
    missing_scopes: tuple[str, ...]
    """Scopes that were requested but not granted."""
    access_expires_at: float
    """Seconds since the epoch, UTC; the page counts down to it."""
    access_expires_text: str
    """The same as text like `14:03:22 UTC`, for pages without JavaScript."""
    access_expires_in: int
    """Seconds left when the page was made, 0 when it has expired."""
    refreshes: bool
    """Whether the portal has a refresh token and renews the access token automatically."""
    refresh_token_missing: bool
    """Whether a refresh token was requested but not issued."""
    claims_elsewhere: tuple[str, ...]
    """Names of claims that the provider only references (distributed claims)."""
    signed_in_at_text: str
    explorer: Explorer | None
    """None: the tenant has no API."""

    @property
    def login_url(self) -> str:
        """The login that leads back to this page."""
        return f"{self.tenant.login_url}?{urlencode({'return_to': self.tenant.developer_url})}"


@dataclass(frozen=True, slots=True)
class SignInPage:
    """`GET /t/{tenant}/` for a user who is not signed in."""

    tenant: TenantCard
    providers: tuple[ProviderChoice, ...]
    notice: str = ""
    closed: bool = False
    """Whether the tenant accepts no new logins."""
    elsewhere: tuple[TenantCard, ...] = ()
    """Where this browser is signed in instead; the user may have expected to be signed in here."""
    address: str = ""
    """The work e-mail address that the user has entered, to be sent to the provider."""
    kept: KeptForm | None = None
    """The form that was posted after the login had ended."""


@dataclass(frozen=True, slots=True)
class CancelledPage:
    """The page after the user cancelled a sign-in at the provider."""

    tenant: TenantCard
    retry_url: str
    continue_url: str
    user: str = ""
    """Who is still signed in at the tenant; empty for nobody."""


@dataclass(frozen=True, slots=True)
class SignedInPage:
    """`GET /t/{tenant}/signed-in`: the end of a login in a window of its own."""

    tenant: TenantCard


@dataclass(frozen=True, slots=True)
class SignedOutPage:
    """The page after a logout from `tenants`; the user is still signed in to `remaining`."""

    tenants: tuple[TenantCard, ...]
    remaining: tuple[TenantCard, ...]


@dataclass(frozen=True, slots=True)
class ErrorPage:
    status: int
    title: str
    explanation: str
    """The cause, in the provider's words or the portal's; may be empty. Untrusted text."""
    advice: str
    request_id: str
    retry_url: str | None = None
    retry_label: str = "Try again"


@dataclass(frozen=True, slots=True)
class NotAllowedPage:
    """The page for an account that may not sign in to an organisation. Untrusted, bounded text."""

    tenant: TenantCard
    account: str
    """Name or subject of the account."""
    email: str
    contact: str
    """The contact for questions; may be empty."""
    other_account_url: str
    """URL that starts a new sign-in where the user can choose an account."""
    sign_out_provider: str | None
    """Id of the provider if the user can sign out there, else None."""
    request_id: str
    elsewhere: tuple[TenantCard, ...] = ()
    """Where this browser is signed in."""


@dataclass(frozen=True, slots=True)
class OtherAccountPage:
    """The page after a step-up in which another user has signed in. Untrusted, bounded text."""

    tenant: TenantCard
    user: str
    former_user: str
    continue_url: str
    former_user_url: str
    """URL that starts a new sign-in where the user can choose an account."""
