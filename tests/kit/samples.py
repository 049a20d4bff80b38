"""Sample tenants, providers, sessions and logins."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from portal.access.rules import AccessRules
from portal.oidc.provider import Provider, TokenSet
from portal.secret import Secret
from portal.sessions.directory import Limits
from portal.stores.model import Login, Session
from portal.tenancy.model import Api, Tenant

START = 1_800_000_000.0


class ManualClock:
    """A clock that only `advance` moves."""

    def __init__(self, start: float = START) -> None:
        self.time = start

    def __call__(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time = round(self.time + seconds, 3)


@dataclass
class SampleDirectory:
    """One tenant with its providers by id and its access rules."""

    providers: dict[str, Provider] = field(default_factory=dict)
    rules: tuple[AccessRules, ...] = ()

    def provider(self, tenant: str, provider: str) -> Provider | None:
        return self.providers.get(provider)

    def limits(self, tenant: str) -> Limits:
        return Limits(None, 43_200.0)

    def accepts_logins(self, tenant: str) -> bool:
        return True

    def email_claim(self, tenant: str) -> str:
        return "email"

    def access(self, tenant: str, provider: str) -> tuple[AccessRules, ...]:
        return self.rules


def sample_provider(tenant: str = "acme", **changes: Any) -> Provider:
    provider = Provider(
        tenant=tenant,
        id="default",
        issuer=f"https://login.{tenant}.example/",
        client_id=f"{tenant}-client",
        client_secret=Secret("sample"),
    )
    return replace(provider, **changes)


def sample_tenant(slug: str = "acme", **changes: Any) -> Tenant:
    tenant = Tenant(
        slug=slug,
        name=slug.title(),
        providers={"default": sample_provider(slug)},
        revision="1",
        api=Api(f"https://api.{slug}.example/v1"),
    )
    return replace(tenant, **changes)


def sample_session(**changes: Any) -> Session:
    session = Session(
        id="s" * 22,
        secret_hash="0" * 64,
        created_at=START,
        last_seen_at=START,
        idle_expires_at=START + 3600,
        absolute_expires_at=START + 43200,
        device="test",
    )
    return replace(session, **changes)


def sample_login(**changes: Any) -> Login:
    provider = sample_provider()
    login = Login(
        session="s" * 22,
        tenant="acme",
        provider="default",
        registration=provider.registration,
        issuer=provider.issuer,
        subject="user-1",
        sid="sid-1",
        claims={"sub": "user-1", "name": "Ada"},
        tokens="sealed",
        access_expires_at=START + 60,
        signed_in_at=START,
        expires_at=START + 43200,
        version=1,
    )
    return replace(login, **changes)


def sample_tokens(**changes: Any) -> TokenSet:
    tokens = TokenSet(
        access_token=Secret("access-1"),
        expires_at=START + 60,
        scope=("openid", "profile"),
        refresh_token=Secret("refresh-1"),
        id_token=Secret("identity-1"),
    )
    return replace(tokens, **changes)
