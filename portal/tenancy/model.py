"""The tenant model, built from a checked tenant file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from portal.access.accounts import AccountRule
from portal.access.rules import AccessRules
from portal.config.front_ends import FrontEnd
from portal.oidc.api_target import ApiTarget
from portal.oidc.provider import Provider


class ApiAccess(StrEnum):
    """Whose calls an API gets."""

    USER = "user"
    """Of users who are signed in, with their access token."""
    ANONYMOUS = "anonymous"
    """Of anybody, without a token."""
    CLIENT = "client"
    """Of anybody, with an access token of the portal itself."""


@dataclass(frozen=True, slots=True)
class Api:
    """An API of a tenant. `base_url` has no trailing slash."""

    base_url: str
    name: str = ""
    """Its key under `apis` of the tenant file; empty for the default API."""
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
    access: ApiAccess = ApiAccess.USER
    targets: Mapping[str, ApiTarget] = field(default_factory=dict)
    """What the API's access token must be for, by the id of the provider. Empty: the login's access token is
    used without a check. Without `methods`: it is used if it is for this API."""
    max_body: int | None = None
    """Bytes of the longest request body; None: no limit of the tenant's."""
    request_headers: frozenset[str] = frozenset()
    """Further headers that pass to the API, normalized (see portal.tenancy.api_headers)."""
    response_headers: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """Its key in the tenant file."""
        return f"apis.{self.name}" if self.name else "api"

    def differs(self, other: Api) -> bool:
        """Whether this is a different API; example paths, limits and passing headers are ignored."""
        return self is not other and self != replace(
            other,
            example_paths=self.example_paths,
            timeout=self.timeout,
            idle_timeout=self.idle_timeout,
            max_body=self.max_body,
            request_headers=self.request_headers,
            response_headers=self.response_headers,
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
    page: tuple[str, ...] = ()
    """The claims that `GET /session` gives to pages."""


@dataclass(frozen=True, slots=True)
class ForwardAuth:
    """What applications behind the operator's reverse proxy learn of a user."""

    claims: tuple[str, ...] = ()
    token: bool = False
    """Whether they get the access token."""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Seconds; None: the portal's settings. A tenant may only shorten them."""

    idle: float | None = None
    absolute: float | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """An application of an organisation. `url` is https, or a path of the portal."""

    title: str
    url: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Tenant:
    """One organisation. `slug` is its file name; `revision` is a fingerprint of its configuration."""

    slug: str
    name: str
    providers: Mapping[str, Provider]
    revision: str
    api: Api | None = None
    """The default API."""
    apis: Mapping[str, Api] = field(default_factory=dict)
    """Further APIs by name."""
    hosts: tuple[str, ...] = ()
    email_domains: tuple[str, ...] = ()
    shared_email_domains: tuple[str, ...] = ()
    """Domains that other tenants may have as well."""
    listed: bool = True
    """Whether the start page lists it and finds it by its name."""
    branding: Branding = field(default_factory=Branding)
    home_url: str | None = None
    """The organisation's main application: https, or a path of the portal."""
    links: tuple[Link, ...] = ()
    """Further applications."""
    claims: ClaimNames = field(default_factory=ClaimNames)
    session: SessionLimits = field(default_factory=SessionLimits)
    forward_auth: ForwardAuth = field(default_factory=ForwardAuth)
    access: Mapping[str, tuple[AccessRules, ...]] = field(default_factory=dict)
    """Access rules by the id of the provider; a user must meet all of them."""
    admins: tuple[AccountRule, ...] = ()
    """Accounts at this tenant that may change it in the console; each rule suffices."""
    front_end: FrontEnd | None = None
    """Served on `hosts` only; None for tenants of the database."""
    accepts_logins: bool = True
    """Whether anybody can sign in; who is signed in stays."""

    def api_named(self, name: str) -> Api | None:
        """The API with this name; the default one when the name is empty."""
        return self.apis.get(name) if name else self.api

    @property
    def every_api(self) -> tuple[Api, ...]:
        """The default API, if there is one, and those with a name."""
        return (*((self.api,) if self.api else ()), *self.apis.values())

    def contact(self, provider: str) -> str | None:
        """Whom a refused user can ask, if the file states it."""
        return next((one.contact for one in self.access.get(provider, ()) if one.contact), None)

    @property
    def default_provider(self) -> Provider:
        """The provider if the user did not choose one."""
        return next(iter(self.providers.values()))
