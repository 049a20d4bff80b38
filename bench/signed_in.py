"""A portal's folder with one tenant and one browser that is signed in there, made without a provider."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from portal.oidc.provider import Provider, TokenSet
from portal.secret import Secret
from portal.sessions.credentials import SessionCookie
from portal.sessions.keyring import KeyRing
from portal.sessions.model import Login, Session
from portal.sessions.stores import store_for
from portal.sessions.vault import Vault
from portal.tenancy.registry import Registry

TENANT = """\
name: Bench
issuer: {issuer}
client:
  id: bench
  secret: bench
scopes: [openid, offline_access]
api:
  base_url: {api}
"""


@dataclass(frozen=True)
class SignedIn:
    """Where the portal's configuration is, and the headers of a signed-in browser's API call."""

    config: Path
    public_url: str
    headers: dict[str, str]


def make_portal(
    folder: Path,
    *,
    port: int,
    database: str,
    api: str,
    issuer: str = "http://127.0.0.1:9",
    processes: int = 1,
    access_seconds: float = 3600.0,
    refresh_token: str | None = None,
) -> SignedIn:
    """Write the configuration and store the session; `access_seconds` is what the access token has left."""
    public_url = f"http://localhost:{port}"
    (folder / "tenants").mkdir(parents=True)
    (folder / "tenants" / "bench.yaml").write_text(TENANT.format(issuer=issuer, api=api))
    config = folder / "portal.yaml"
    config.write_text(
        f"public_url: {public_url}\nlisten: 127.0.0.1:{port}\ntenants: {folder}/tenants\n"
        f"database: {database}\nkeys: {folder}/keys.json\nprocesses: {processes}\n"
        "allow_private_networks: true\nlog: {format: json, level: info}\n"
    )
    registry = Registry(folder / "tenants", allow_private_networks=True)
    registry.load()
    tenant = registry.get("bench")
    assert tenant is not None, registry.problems
    vault = Vault(KeyRing.load_or_create(folder / "keys.json"))
    cookie = asyncio.run(_sign_in(database, vault, tenant.default_provider, access_seconds, refresh_token))
    return SignedIn(
        config,
        public_url,
        {
            "Cookie": f"portal={cookie.value}",
            "Sec-Fetch-Site": "same-origin",
            "X-Portal-CSRF": "1",
        },
    )


async def _sign_in(
    database: str, vault: Vault, provider: Provider, access_seconds: float, refresh_token: str | None
) -> SessionCookie:
    moment = round(time.time(), 3)
    cookie = SessionCookie.new()
    session = Session(
        id=cookie.session_id,
        secret_hash=cookie.secret_hash,
        created_at=moment,
        last_seen_at=moment,
        idle_expires_at=moment + 3600,
        absolute_expires_at=moment + 43200,
    )
    tokens = TokenSet(
        access_token=Secret("bench-" + "a" * 900),
        expires_at=moment + access_seconds,
        scope=("openid",),
        refresh_token=Secret(refresh_token) if refresh_token else None,
        id_token=Secret("bench-" + "i" * 900),
    )
    login_key = f"{session.id}:{provider.tenant}"
    login = Login(
        session=session.id,
        tenant=provider.tenant,
        provider=provider.id,
        registration=provider.registration,
        issuer=provider.issuer,
        subject="bench",
        sid=None,
        claims={"sub": "bench", "name": "Bench"},
        tokens=vault.seal_tokens(login_key, tokens),
        access_expires_at=tokens.expires_at,
        signed_in_at=moment,
        expires_at=moment + 43200,
        version=1,
    )
    store = store_for(database)
    await store.open()
    try:
        await store.add_session(session)
        await store.put_login(login)
    finally:
        await store.close()
    return cookie
