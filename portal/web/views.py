"""What each page is given to show. Templates see these and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

_LAST_MOMENT = datetime.max.replace(tzinfo=UTC, microsecond=0).timestamp()


@dataclass(frozen=True, slots=True)
class TenantCard:
    """A tenant as chooser and switcher show it."""

    slug: str
    name: str
    initials: str
    color: str
    """Always a safe `#rrggbb`."""
    signed_in: bool
    user: str = ""
    """Who is signed in there, when somebody is."""

    @property
    def home_url(self) -> str:
        return f"/t/{self.slug}/"

    @property
    def login_url(self) -> str:
        return f"/t/{self.slug}/login"

    @property
    def ink(self) -> str:
        """Black or white, whichever reads better on `color`; at least 4.5:1 (WCAG 2.2, 1.4.3)."""
        channels = (int(self.color[i : i + 2], 16) / 255 for i in (1, 3, 5))
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        return "#000000" if luminance > 0.179 else "#ffffff"


@dataclass(frozen=True, slots=True)
class Chrome:
    """What every page shows around its content."""

    signed_in: tuple[TenantCard, ...] = ()
    """For the switcher in the header: tenants with a live login, in order of name."""
    current: TenantCard | None = None
    xsrf_token: str = ""
    """Value of the hidden field `_xsrf` of every form."""
    request_id: str = ""
    path: str = "/"


@dataclass(frozen=True, slots=True)
class ChooserPage:
    """`GET /`: your logins first, then find your organisation."""

    signed_in: tuple[TenantCard, ...]
    found: tuple[TenantCard, ...]
    query: str
    """What was searched for (`?q=`, name or work e-mail address), or empty."""
    total: int
    """How many tenants there are; with more than a dozen, `found` is empty until something is searched."""


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


@dataclass(frozen=True, slots=True)
class ExplorerResult:
    """Answer of the tenant's API to a call made from the page without JavaScript."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: str
    """Text, pretty-printed when it is JSON, bounded."""
    truncated: bool
    elapsed_ms: int


@dataclass(frozen=True, slots=True)
class Explorer:
    """The API explorer of the tenant home."""

    paths: tuple[str, ...]
    path: str
    """The path in the field, starting with `/`."""
    method: str = "GET"
    body: str = ""
    methods: tuple[str, ...] = ("GET", "POST", "PUT", "PATCH", "DELETE")
    result: ExplorerResult | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class TenantHomePage:
    """`GET /t/{tenant}/` for somebody who is signed in there."""

    tenant: TenantCard
    user: str
    email: str
    subject: str
    issuer: str
    provider_label: str
    claims: tuple[ClaimRow, ...]
    scopes: tuple[str, ...]
    missing_scopes: tuple[str, ...]
    """Asked for but not granted."""
    access_expires_at: float
    """Seconds since the epoch, UTC; the page counts down to it."""
    access_expires_text: str
    """The same as `14:03:22 UTC`, for reading without JavaScript."""
    access_expires_in: int
    """Seconds left when the page was made, 0 when it has expired."""
    refreshes: bool
    """Whether the portal holds a refresh token and will renew the access token by itself."""
    refresh_token_missing: bool
    """Whether a refresh token was asked for and the provider gave none."""
    claims_elsewhere: tuple[str, ...]
    """Names of claims that the provider only points to."""
    signed_in_at_text: str
    explorer: Explorer | None
    """None: the tenant has no API."""

    @property
    def access_expires_iso(self) -> str:
        """`access_expires_at` for the `datetime` attribute of `<time>`."""
        moment = datetime.fromtimestamp(min(self.access_expires_at, _LAST_MOMENT), UTC)
        return moment.isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class SignInPage:
    """`GET /t/{tenant}/` for somebody who is not signed in there."""

    tenant: TenantCard
    providers: tuple[ProviderChoice, ...]
    notice: str = ""


@dataclass(frozen=True, slots=True)
class SignedOutPage:
    """After a logout. `tenants` were signed out of; `remaining` are still signed in."""

    tenants: tuple[TenantCard, ...]
    remaining: tuple[TenantCard, ...]


@dataclass(frozen=True, slots=True)
class ErrorPage:
    status: int
    title: str
    explanation: str
    """What happened, in the provider's words or ours; may be empty. Untrusted text."""
    advice: str
    request_id: str
    retry_url: str | None = None
    retry_label: str = "Try again"


@dataclass(frozen=True, slots=True)
class AccountPage:
    """`GET /account`: in which tenants this browser is signed in."""

    logins: tuple[TenantCard, ...] = ()
    session_expires_text: str = ""
    signed_in_texts: dict[str, str] = field(default_factory=dict)
    """Tenant slug → since when."""
