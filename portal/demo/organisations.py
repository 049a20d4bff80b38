"""Acme, Globex and Initech, the organisations of `portal demo`: users, scopes, records and tenant files.

Initech has a provider and an API, but no tenant file: it is set up in the browser, with a setup link.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from portal.demo.api import Collections
from portal.demo.files import write_private
from portal.demo.provider_model import (
    IDENTITY_SCOPES,
    ClientRegistration,
    Look,
    ProviderSettings,
    UserAccount,
)


@dataclass(frozen=True, slots=True)
class FurtherApi:
    """A second API of an organisation, which needs access tokens of its own."""

    name: str
    """Its key under `apis` of the tenant file."""
    title: str
    audience: str
    scopes: tuple[str, ...]
    collections: Collections
    example_paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Organisation:
    """The definition of one demo tenant, without URLs and secrets."""

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
    step_up_scopes: Mapping[str, str] = field(default_factory=dict)
    """API scopes that the portal requests only when the API asks for them, with their descriptions."""
    has_file: bool = True
    """Whether the demo writes its tenant file; otherwise its provider shows what an administrator enters."""
    further_api: FurtherApi | None = None

    @property
    def scopes(self) -> tuple[str, ...]:
        """All scopes that the portal requests."""
        return (*IDENTITY_SCOPES, *self.api_scopes)

    @property
    def audiences(self) -> tuple[str, ...]:
        """The APIs that the portal may request access tokens for, the default one first."""
        return (self.audience, *((self.further_api.audience,) if self.further_api else ()))


_ACME_RECORDS: Collections = {
    "orders": (
        {
            "id": "A-1001",
            "customer": "Umbrella Ltd",
            "item": "Rocket skates",
            "quantity": 2,
            "total": "398.00",
            "currency": "EUR",
            "status": "shipped",
        },
        {
            "id": "A-1002",
            "customer": "Initech",
            "item": "Portable hole",
            "quantity": 1,
            "total": "1250.00",
            "currency": "EUR",
            "status": "packing",
        },
        {
            "id": "A-1003",
            "customer": "Hooli",
            "item": "Giant magnet",
            "quantity": 4,
            "total": "880.00",
            "currency": "EUR",
            "status": "new",
        },
    ),
}
_ACME_INVOICES: Collections = {
    "invoices": (
        {"id": "B-501", "order": "A-1001", "amount": "398.00", "currency": "EUR", "paid": True},
        {"id": "B-502", "order": "A-1002", "amount": "1250.00", "currency": "EUR", "paid": False},
        {"id": "B-503", "order": "A-1003", "amount": "880.00", "currency": "EUR", "paid": False},
    ),
}
_GLOBEX_RECORDS: Collections = {
    "orders": (
        {
            "id": "G-301",
            "customer": "Acme Corporation",
            "item": "Weather balloon",
            "quantity": 12,
            "total": "1140.00",
            "currency": "EUR",
            "status": "packing",
        },
        {
            "id": "G-302",
            "customer": "Vandelay Industries",
            "item": "Latex gloves, box",
            "quantity": 40,
            "total": "359.60",
            "currency": "EUR",
            "status": "new",
        },
    ),
    "projects": (
        {"id": "P-1", "name": "Weather machine", "lead": "Hank Huang", "progress": 0.7},
        {"id": "P-2", "name": "Seaside office", "lead": "Gina Gomez", "progress": 0.25},
    ),
}
_GLOBEX_INVOICES: Collections = {
    "invoices": (
        {
            "id": "INV-77",
            "supplier": "Acme Corporation",
            "amount": "398.00",
            "currency": "EUR",
            "due": "2030-01-31",
            "paid": False,
        },
        {
            "id": "INV-78",
            "supplier": "Vandelay Industries",
            "amount": "2150.50",
            "currency": "USD",
            "due": "2030-02-15",
            "paid": True,
        },
    ),
}

_SAM = "sam-rivera"
"""The same subject at both providers, for two unrelated accounts."""

ACME_ORGANISATION = Organisation(
    slug="acme",
    name="Acme Corporation",
    look=Look.CARD,
    tagline="Everything for the roadrunner problem",
    color="#1d4ed8",
    audience="https://api.acme.example",
    email_domain="acme.example",
    api_scopes={
        "read:orders": "See the orders",
        "write:orders": "Place orders",
        "read:invoices": "See the invoices",
    },
    users=(
        UserAccount(
            "alice",
            "acme-alice",
            "acme-001",
            "Alice Archer",
            "alice@acme.example",
            ("sales", "admin"),
            frozenset({"read:orders", "write:orders", "delete:orders", "read:invoices"}),
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
    collections=_ACME_RECORDS,
    example_paths=("/orders", "/orders/A-1001", "/secrets", "/echo", "/stream?count=5", "/download?mb=10"),
    consent_required=True,
    further_api=FurtherApi(
        name="billing",
        title="Acme Billing",
        audience="https://billing.acme.example",
        scopes=("read:invoices",),
        collections=_ACME_INVOICES,
        example_paths=("/invoices", "/invoices/B-502"),
    ),
    step_up_scopes={"delete:orders": "Delete orders"},
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
        "read:orders": "See the orders",
        "write:orders": "Place orders",
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
            frozenset({"read:orders", "write:orders", "read:invoices", "read:projects", "write:projects"}),
        ),
        UserAccount(
            "hank",
            "globex-hank",
            "globex-9b21",
            "Hank Huang",
            "hank@globex.example",
            ("engineering",),
            frozenset({"read:orders", "write:orders", "read:projects", "write:projects"}),
        ),
        UserAccount(
            "sam",
            "globex-sam",
            _SAM,
            "Sam Rivera",
            "sam@globex.example",
            ("contractor",),
            frozenset({"read:orders", "read:projects"}),
        ),
    ),
    collections=_GLOBEX_RECORDS,
    example_paths=("/projects", "/orders", "/projects/P-1", "/echo", "/stream?count=5"),
    consent_required=False,
    further_api=FurtherApi(
        name="billing",
        title="Globex Billing",
        audience="https://billing.globex.example",
        scopes=("read:invoices",),
        collections=_GLOBEX_INVOICES,
        example_paths=("/invoices", "/invoices/INV-77"),
    ),
)

INITECH_ORGANISATION = Organisation(
    slug="initech",
    name="Initech",
    look=Look.PAPER,
    tagline="Reports about reports",
    color="#9a3412",
    audience="https://api.initech.example",
    email_domain="initech.example",
    api_scopes={"read:reports": "See the reports"},
    users=(
        UserAccount(
            "peter",
            "initech-peter",
            "initech-42",
            "Peter Park",
            "peter@initech.example",
            ("it", "admin"),
            frozenset({"read:reports"}),
        ),
        UserAccount(
            "milton",
            "initech-milton",
            "initech-43",
            "Milton Moss",
            "milton@initech.example",
            ("basement",),
            frozenset({"read:reports"}),
        ),
    ),
    collections={
        "reports": (
            {"id": "R-1", "title": "Cover sheets, quarterly", "pages": 12},
            {"id": "R-2", "title": "Staplers, inventory", "pages": 1},
        ),
    },
    example_paths=("/reports", "/echo"),
    consent_required=False,
    has_file=False,
)

ORGANISATIONS = (ACME_ORGANISATION, GLOBEX_ORGANISATION, INITECH_ORGANISATION)


def provider_settings(
    organisation: Organisation, *, issuer: str, client: ClientRegistration
) -> ProviderSettings:
    """The settings of an organisation's provider."""
    return ProviderSettings(
        id=organisation.slug,
        name=organisation.name,
        issuer=issuer,
        clients=(client,),
        users=organisation.users,
        look=organisation.look,
        tagline=organisation.tagline,
        api_scopes={**organisation.api_scopes, **organisation.step_up_scopes},
        consent_required=organisation.consent_required,
        show_users=True,
        show_registration=not organisation.has_file,
    )


def portal_client(organisation: Organisation, *, portal_url: str, secret: str) -> ClientRegistration:
    """The portal's client registration at the organisation's provider."""
    tenant_url = f"{portal_url.rstrip('/')}/t/{organisation.slug}"
    return ClientRegistration(
        client_id=f"portal-at-{organisation.slug}",
        client_secret=secret,
        name="Tenant Portal",
        redirect_uris=(f"{tenant_url}/callback",),
        post_logout_redirect_uris=(f"{tenant_url}/signed-out",),
        backchannel_logout_uri=f"{tenant_url}/backchannel-logout",
        audiences=organisation.audiences,
        scopes=(*organisation.scopes, *organisation.step_up_scopes),
    )


def write_tenant_file(
    folder: Path,
    organisation: Organisation,
    *,
    issuer: str,
    client_id: str,
    secret: str,
    api_url: str,
    further_url: str,
) -> Path:
    """Write the organisation's tenant file, replacing an existing one.

    Parameters: secret, a reference to the client secret, like `file:/path`; further_url, of `further_api`.
    """
    further = organisation.further_api
    scopes = [one for one in organisation.scopes if further is None or one not in further.scopes]
    tenant = {
        "name": organisation.name,
        "issuer": issuer,
        "client": {"id": client_id, "secret": secret},
        "audience": organisation.audience,
        "scopes": scopes,
        **({"step_up_scopes": list(organisation.step_up_scopes)} if organisation.step_up_scopes else {}),
        "api": {"base_url": api_url, "example_paths": list(organisation.example_paths)},
        **({} if further is None else {"apis": {further.name: _further_entry(further, further_url)}}),
        "email_domains": [organisation.email_domain],
        "branding": {"color": organisation.color},
        "claims": {"roles": "roles"},
    }
    path = folder / f"{organisation.slug}.yaml"
    comment = "# Written by `portal demo` at every start; changes here are lost.\n"
    write_private(path, comment + yaml.safe_dump(tenant, sort_keys=False, allow_unicode=True))
    return path


def _further_entry(further: FurtherApi, url: str) -> dict[str, object]:
    return {
        "base_url": url,
        "audience": further.audience,
        "scopes": list(further.scopes),
        "example_paths": list(further.example_paths),
    }
