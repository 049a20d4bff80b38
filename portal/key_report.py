"""What `portal key` prints: which keys there are, and what is to be registered where."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from portal.errors import BadRequest
from portal.oidc.own_keys import PUBLISHED_FIRST, OwnKey, OwnKeySet
from portal.oidc.provider import ClientAuth, Provider
from portal.sessions.keyring import KeyRing
from portal.sessions.model import now
from portal.sessions.own_key_ring import complete_own_keys, load_own_keys
from portal.settings import Settings
from portal.tenancy.model import Tenant
from portal.web.registration import JWKS_PATH, certificate_key_set, client_metadata
from portal.web.sites import Site, Sites


def vault_key_lines(path: Path) -> Iterator[str]:
    """A line for each key of the vault, the newest last. Raises ConfigurationError or StartupError."""
    ring = KeyRing.load(path)
    for kid in ring.kids:
        found = ring.find(kid)
        made = _moment(found.created_at) if found else ""
        yield f"{kid}  {made}  {'seals and opens' if kid == ring.newest.kid else 'opens'}"


def own_key_lines(path: Path) -> Iterator[str]:
    """A line for each signing and encryption key. Raises ConfigurationError or StartupError."""
    keys = OwnKeySet(load_own_keys(path), clock=now)
    published = {str(member["kid"]).partition(".")[0] for member in _members(keys)}
    for key in keys.keys:
        yield f"{key.kid}  {_moment(key.created_at)}  {_state(key, keys, published)}"


def own_keys_report(settings: Settings, *, jwks: bool) -> Iterator[str]:
    """The portal's public keys, for providers. Makes those that the key ring lacks.

    Raises ConfigurationError or StartupError.
    """
    complete_own_keys(settings.keys)
    if jwks:
        yield _json(OwnKeySet(load_own_keys(settings.keys), clock=now).public_jwks())
        return
    yield f"Providers find the portal's public keys at {_jwks_uri(settings)}"
    yield "A provider that cannot fetch them is given a copy: portal key show --jwks"
    yield ""
    yield from own_key_lines(settings.keys)


def registration_report(settings: Settings, tenant: Tenant, *, jwks: bool, as_json: bool) -> Iterator[str]:
    """What the providers of a tenant have to be told. Raises ConfigurationError or StartupError."""
    sites = _sites(settings, tenant)
    for number, provider in enumerate(tenant.providers.values()):
        if jwks:
            yield _json(_key_set(settings, provider))
            continue
        metadata = client_metadata(tenant, provider, sites)
        if as_json:
            yield _json(metadata)
            continue
        if number:
            yield ""
        yield f"{tenant.slug}, provider {provider.id}: {provider.issuer}"
        for name, value in metadata.items():
            for one in value if isinstance(value, list) else [value]:
                yield f"  {name:<39}{_shown(one)}"


def rotated_lines(settings: Settings, added: Sequence[OwnKey]) -> Iterator[str]:
    """What a rotation of the portal's own keys means."""
    signing = [f"{key.kid} ({key.kind})" for key in added if key.use == "sig"]
    encrypting = [f"{key.kid} ({key.kind})" for key in added if key.use == "enc"]
    if signing:
        begin = _moment(max(key.created_at for key in added) + PUBLISHED_FIRST)
        yield (
            f"New signing keys: {', '.join(signing)}. They are published now and sign from {begin} on, so "
            "that providers fetch them first; the older ones stay published until `portal key remove`."
        )
    if encrypting:
        yield (
            f"New encryption keys: {', '.join(encrypting)}. They are published in place of the older ones, "
            "which still open what is encrypted for them."
        )
    if added:
        yield (
            f"Providers that read {_jwks_uri(settings)} follow by themselves; those that were given a copy "
            "need a new one: portal key show --jwks"
        )


def _state(key: OwnKey, keys: OwnKeySet, published: set[str]) -> str:
    if key.use == "enc":
        return f"{key.kind}  {'published, opens' if key.kid in published else 'opens'}"
    if keys.signing(key.kind) is key:
        return f"{key.kind}  published, signs"
    later = key.created_at + PUBLISHED_FIRST
    return f"{key.kind}  published{f', signs from {_moment(later)}' if later > now() else ''}"


def _key_set(settings: Settings, provider: Provider) -> object:
    if provider.client_auth is ClientAuth.SELF_SIGNED_TLS_CLIENT_AUTH:
        return certificate_key_set(provider)
    complete_own_keys(settings.keys)
    return OwnKeySet(load_own_keys(settings.keys), clock=now).public_jwks()


def _sites(settings: Settings, tenant: Tenant) -> list[Site]:
    sites = Sites(settings.public_url, lambda host: tenant if host in tenant.hosts else None)
    return [sites.main, *(sites.find(host) for host in tenant.hosts)]


def _members(keys: OwnKeySet) -> list[dict[str, object]]:
    members = keys.public_jwks()["keys"]
    if not isinstance(members, list):
        raise BadRequest("a JWK Set has a list of keys")
    return members


def _jwks_uri(settings: Settings) -> str:
    return settings.public_url.rstrip("/") + JWKS_PATH


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
