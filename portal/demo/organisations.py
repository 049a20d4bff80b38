"""Acme and Globex: the two organisations of `portal demo`, with their users, scopes and tenant files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from portal.clock import Clock, now
from portal.demo.api_data import ACME, GLOBEX, Collections
from portal.demo.files import write_private
from portal.demo.provider_model import (
    IDENTITY_SCOPES,
    ClientRegistration,
    Look,
    ProviderSettings,
    UserAccount,
)


@dataclass(frozen=True, slots=True)
class Organisation:
    """Everything that makes one demo tenant what it is, except addresses and secrets."""

    slug: str
    name: str
    look: Look
    tagline: str
    color: str
    audience: str
    email_domain: str
    api_scopes: Mapping[str, str]
    users: tuple[UserAccount, ...]
    collections: Collections
    example_paths: tuple[str, ...]
    consent_required: bool

    @property
    def scopes(self) -> tuple[str, ...]:
        """Every scope the portal asks for."""
        return (*IDENTITY_SCOPES, *self.api_scopes)


_SAM = "sam-rivera"
"""The same subject at both providers, for two accounts that have nothing to do with each other."""

ACME_ORGANISATION = Organisation(
    slug="acme",
    name="Acme Corporation",
    look=Look.CARD,
    tagline="Everything for the roadrunner problem",
    color="#1d4ed8",
    audience="https://api.acme.example",
    email_domain="acme.example",
    api_scopes={"read:orders": "See the orders", "write:orders": "Place orders"},
    users=(
        UserAccount(
            "alice",
            "acme-alice",
            "acme-001",
            "Alice Archer",
            "alice@acme.example",
            ("sales", "admin"),
            frozenset({"read:orders", "write:orders"}),
        ),
        UserAccount(
            "bob",
            "acme-bob",
            "acme-002",
            "Bob Baker",
            "bob@acme.example",
            ("warehouse",),
            frozenset({"read:orders"}),
        ),
        UserAccount(
            "sam",
            "acme-sam",
            _SAM,
            "Sam Rivera",
            "sam@acme.example",
            ("contractor",),
            frozenset({"read:orders"}),
        ),
    ),
    collections=ACME,
    example_paths=("/orders", "/orders/A-1001", "/echo", "/stream?count=5", "/download?mb=10"),
    consent_required=True,
)

GLOBEX_ORGANISATION = Organisation(
    slug="globex",
    name="Globex",
    look=Look.SPLIT,
    tagline="Building the world from the ground up",
    color="#14663c",
    audience="https://api.globex.example",
    email_domain="globex.example",
    api_scopes={
        "read:invoices": "See the invoices",
        "read:projects": "See the projects",
        "write:projects": "Start projects",
    },
    users=(
        UserAccount(
            "gina",
            "globex-gina",
            "globex-7f3a",
            "Gina Gomez",
            "gina@globex.example",
            ("finance", "admin"),
            frozenset({"read:invoices", "read:projects", "write:projects"}),
        ),
        UserAccount(
            "hank",
            "globex-hank",
            "globex-9b21",
            "Hank Huang",
            "hank@globex.example",
            ("engineering",),
            frozenset({"read:projects", "write:projects"}),
        ),
        UserAccount(
            "sam",
            "globex-sam",
            _SAM,
            "Sam Rivera",
            "sam@globex.example",
            ("contractor",),
            frozenset({"read:projects"}),
        ),
    ),
    collections=GLOBEX,
    example_paths=("/projects", "/invoices", "/projects/P-1", "/echo", "/stream?count=5"),
    consent_required=False,
)


@dataclass(frozen=True, slots=True)
class ProviderOptions:
    """What tests and benchmarks change about the providers. Durations are seconds."""

    access_token_seconds: float = 60.0
    refresh_token_seconds: float = 8 * 3600.0
    consent: bool | None = None
    """None: as the organisation has it."""
    show_users: bool = True
    users: tuple[UserAccount, ...] | None = None
    """Users of both providers in place of the organisations' own."""
    backchannel_logout: bool = True
    """Tell the portal when a session at a provider ends (OIDC Back-Channel Logout)."""
    frontchannel_logout: bool = False
    """Have the browser tell it, too (OIDC Front-Channel Logout): signing out then shows a page in between."""
    clock: Clock = now


def provider_settings(
    organisation: Organisation, *, issuer: str, client: ClientRegistration, options: ProviderOptions
) -> ProviderSettings:
    """Settings of an organisation's provider."""
    consent = organisation.consent_required if options.consent is None else options.consent
    return ProviderSettings(
        id=organisation.slug,
        name=organisation.name,
        issuer=issuer,
        clients=(client,),
        users=organisation.users if options.users is None else options.users,
        look=organisation.look,
        tagline=organisation.tagline,
        api_scopes=organisation.api_scopes,
        access_token_seconds=options.access_token_seconds,
        refresh_token_seconds=options.refresh_token_seconds,
        consent_required=consent,
        show_users=options.show_users,
        clock=options.clock,
    )


def portal_client(
    organisation: Organisation,
    *,
    portal_url: str,
    secret: str,
    backchannel_logout: bool = True,
    frontchannel_logout: bool = False,
) -> ClientRegistration:
    """The portal, as the organisation's provider knows it."""
    tenant_url = f"{portal_url.rstrip('/')}/t/{organisation.slug}"
    return ClientRegistration(
        client_id=f"portal-at-{organisation.slug}",
        client_secret=secret,
        name="Tenant Portal",
        redirect_uris=(f"{tenant_url}/callback",),
        post_logout_redirect_uris=(f"{tenant_url}/signed-out",),
        backchannel_logout_uri=f"{tenant_url}/backchannel-logout" if backchannel_logout else None,
        frontchannel_logout_uri=f"{tenant_url}/frontchannel-logout" if frontchannel_logout else None,
        audiences=(organisation.audience,),
        scopes=organisation.scopes,
        jwks_uri=f"{portal_url.rstrip('/')}/.well-known/jwks.json",
    )


def write_tenant_file(
    folder: Path, organisation: Organisation, *, issuer: str, client_id: str, secret: str, api_url: str
) -> Path:
    """Write the organisation's tenant file, in place of the one that was there.

    Parameters: secret, the client secret as the file refers to it, like `file:/path`.
    """
    tenant = {
        "name": organisation.name,
        "issuer": issuer,
        "client": {"id": client_id, "secret": secret},
        "audience": organisation.audience,
        "scopes": list(organisation.scopes),
        "api": {"base_url": api_url, "example_paths": list(organisation.example_paths)},
        "email_domains": [organisation.email_domain],
        "branding": {"color": organisation.color},
        "claims": {"roles": "roles"},
    }
    path = folder / f"{organisation.slug}.yaml"
    comment = "# Written by `portal demo` at every start; changes here are lost.\n"
    write_private(path, comment + yaml.safe_dump(tenant, sort_keys=False, allow_unicode=True))
    return path
