"""Creates a portal folder with tenants and a signed-in browser, without a provider."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import bson

from portal.keys.key_ring import KeyRing
from portal.keys.vault import Vault
from portal.oidc.provider import Provider, TokenSet
from portal.secret import Secret
from portal.sessions.credentials import SessionCookie
from portal.stores.by_url import store_for
from portal.stores.model import Login, Session
from portal.stores.mongo.documents import login_document, session_document
from portal.stores.store import Store
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
    """The portal's configuration file, and the headers of an API call of a signed-in browser.

    `cookies` are the values of the header `Cookie` of all browsers; `headers` has the first one.
    """

    config: Path
    public_url: str
    headers: dict[str, str]
    cookies: list[str]


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
    others: Mapping[str, str] | None = None,
    sessions: int = 1,
    documents: Path | None = None,
    extended: bool = False,
) -> SignedIn:
    """Write the configuration and store sessions with a login at every tenant.

    Parameters: access_seconds, the remaining lifetime of the access token; others, APIs of additional tenants
    by slug; documents, a file to write the sessions to, instead of the database; extended, whether calls
    extend the idle limits of the sessions, evenly over a minute, as with users that are active all the time.
    """
    public_url = f"http://localhost:{port}"
    (folder / "tenants").mkdir(parents=True)
    apis = {"bench": api, **(others or {})}
    for slug, base_url in apis.items():
        (folder / "tenants" / f"{slug}.yaml").write_text(TENANT.format(issuer=issuer, api=base_url))
    config = folder / "portal.yaml"
    config.write_text(
        f"public_url: {public_url}\nlisten: 127.0.0.1:{port}\ntenants: {folder}/tenants\n"
        f"database: {database}\nkeys: {folder}/keys.json\nprocesses: {processes}\n"
        "allow_private_networks: true\nlog: {format: json, level: info}\n"
    )
    registry = Registry(folder / "tenants", allow_private_networks=True)
    registry.load()
    assert not registry.problems, registry.problems
    providers = [tenant.default_provider for tenant in registry.all()]
    vault = Vault(KeyRing.load_or_create(folder / "keys.json"))
    stored = _sign_in(
        database, vault, providers, access_seconds, refresh_token, sessions, documents, extended
    )
    cookies = [f"portal={cookie.value}" for cookie in asyncio.run(stored)]
    return SignedIn(
        config,
        public_url,
        {
            "Cookie": cookies[0],
            "Sec-Fetch-Site": "same-origin",
            "X-Portal-CSRF": "1",
        },
        cookies,
    )


async def _sign_in(
    database: str,
    vault: Vault,
    providers: Sequence[Provider],
    access_seconds: float,
    refresh_token: str | None,
    sessions: int,
    documents: Path | None,
    extended: bool,
) -> list[SessionCookie]:
    now = round(time.time(), 3)
    tokens = TokenSet(
        access_token=Secret("bench-" + "a" * 900),
        expires_at=now + access_seconds,
        scope=("openid",),
        refresh_token=Secret(refresh_token) if refresh_token else None,
        id_token=Secret("bench-" + "i" * 900),
    )
    cookies = [SessionCookie.new() for _ in range(sessions)]
    entries = []
    for number, cookie in enumerate(cookies):
        session = Session(
            id=cookie.session_id,
            secret_hash=cookie.secret_hash,
            created_at=now,
            # usually no call of a benchmark extends the session: that is a write
            last_seen_at=round(now - 60 + 60 * number / sessions, 3) if extended else now + 3600,
            idle_expires_at=now + 7200,
            absolute_expires_at=now + 43200,
        )
        entries.append((session, [_login(session, provider, vault, tokens) for provider in providers]))
    if documents is not None:
        write_documents(documents, entries)
        return cookies
    store = store_for(database)
    await store.open()
    try:
        await _add_entries(store, entries)
    finally:
        await store.close()
    return cookies


async def _add_entries(store: Store, entries: Sequence[tuple[Session, Sequence[Login]]]) -> None:
    at_a_time = asyncio.Semaphore(10)

    async def add(session: Session, logins: Sequence[Login]) -> None:
        async with at_a_time:
            await store.add_session(session)
            for login in logins:
                await store.put_login(login)

    await asyncio.gather(*(add(*entry) for entry in entries))


def write_documents(path: Path, entries: Sequence[tuple[Session, Sequence[Login]]]) -> None:
    """Write sessions and logins as MongoDB documents, for `bench.mongodb_reads`."""
    with path.open("wb") as file:
        for session, logins in entries:
            file.write(bson.encode(session_document(session)))
            file.writelines(bson.encode(login_document(login)) for login in logins)


def _login(session: Session, provider: Provider, vault: Vault, tokens: TokenSet) -> Login:
    login_key = f"{session.id}:{provider.tenant}"
    return Login(
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
        signed_in_at=session.created_at,
        expires_at=session.absolute_expires_at,
        version=1,
    )
