"""The tenant model, built from a checked tenant file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from portal.access.accounts import AccountRule
from portal.access.rules import AccessRules
from portal.oidc.provider import Provider


@dataclass(frozen=True, slots=True)
class Api:
    """An API of a tenant. `base_url` has no trailing slash."""

    base_url: str
    example_paths: tuple[str, ...] = ()
    """Paths that the API explorer on the tenant home offers as examples."""
    mtls: bool = False
    """Whether calls present the client certificate of the login's provider (RFC 8705, section 3)."""
    tls_authorities: str | None = field(default=None, repr=False)
    """PEM; certificate authorities for this API instead of the system's."""
    timeout: float = 60.0
    """Seconds from the end of a request until the head of its response is complete."""
    idle_timeout: float = 60.0
    """Maximum seconds between two chunks of a body, sent or received."""

    def differs(self, other: Api) -> bool:
        """Whether this is a different API; example paths and timeouts are ignored."""
        return self is not other and self != replace(
            other,
            example_paths=self.example_paths,
            timeout=self.timeout,
            idle_timeout=self.idle_timeout,
        )


@dataclass(frozen=True, slots=True)
class Branding:
    """The appearance of a tenant in the portal. `color` is `#rrggbb`."""

    color: str | None = None
    logo_url: str | None = None


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Which claims the portal shows, and which contains roles."""

    name: str = "name"
    email: str = "email"
    roles: str | None = None
    show: tuple[str, ...] = ()
    """Empty: every claim of the ID token except protocol claims."""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Seconds; None: the portal's settings. A tenant may only shorten them."""

    idle: float | None = None
    absolute: float | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    """One organisation. `slug` is its file name; `revision` is a fingerprint of its configuration."""

    slug: str
    name: str
    providers: Mapping[str, Provider]
    revision: str
    api: Api | None = None
    hosts: tuple[str, ...] = ()
    email_domains: tuple[str, ...] = ()
    branding: Branding = field(default_factory=Branding)
    claims: ClaimNames = field(default_factory=ClaimNames)
    session: SessionLimits = field(default_factory=SessionLimits)
    access: Mapping[str, tuple[AccessRules, ...]] = field(default_factory=dict)
    """Access rules by the id of the provider; a user must meet all of them."""
    admins: tuple[AccountRule, ...] = ()
    """Accounts at this tenant that may change it in the console; each rule suffices."""
    accepts_logins: bool = True
    """Whether anybody can sign in; who is signed in stays."""

    def contact(self, provider: str) -> str | None:
        """Whom a refused user can ask, if the file states it."""
        return next((one.contact for one in self.access.get(provider, ()) if one.contact), None)

    @property
    def default_provider(self) -> Provider:
        """The provider if the user did not choose one."""
        return next(iter(self.providers.values()))
