"""What `portal key` prints: which keys there are, and what is to be registered where."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from portal.clock import now
from portal.config.settings import Settings
from portal.config.validation import nearest
from portal.errors import BadRequest, ConfigurationError, Problem
from portal.keys.client_key_ring import complete_client_keys, load_client_keys
from portal.keys.key_ring import KeyRing
from portal.oidc.client_keys import PUBLISHED_FIRST, ClientKey, ClientKeySet
from portal.oidc.provider import Provider
from portal.tenancy.model import Tenant
from portal.web.registration import (
    JWKS_PATH,
    certificate_key_set,
    client_key_set,
    client_metadata,
    known_by_certificate,
    uses_client_keys,
)
from portal.web.sites import Site, Sites

_RECOMMENDED = "Recommended"
_FRONT_CHANNEL = "Only where the provider has no back-channel logout"
_NEEDS: Mapping[str, str] = {
    "client_name": _RECOMMENDED,
    "post_logout_redirect_uris": _RECOMMENDED,
    "backchannel_logout_uri": _RECOMMENDED,
    "backchannel_logout_session_required": _RECOMMENDED,
    "request_object_signing_alg": _RECOMMENDED,
    "require_pushed_authorization_requests": _RECOMMENDED,
    "dpop_bound_access_tokens": _RECOMMENDED,
    "tls_client_certificate_bound_access_tokens": _RECOMMENDED,
    "frontchannel_logout_uri": _FRONT_CHANNEL,
    "frontchannel_logout_session_required": _FRONT_CHANNEL,
    "initiate_login_uri": "Only for sign-ins that begin at the provider",
}
"""What is not required of the client metadata, and when it is of use."""


def vault_key_lines(path: Path) -> Iterator[str]:
    """A line for each key of the vault, the newest last. Raises ConfigurationError or StartupError."""
    ring = KeyRing.load(path)
    for kid in ring.kids:
        found = ring.find(kid)
        made = _moment(found.created_at) if found else ""
        yield f"{kid}  {made}  {'seals and opens' if kid == ring.newest.kid else 'opens'}"


def client_key_lines(path: Path) -> Iterator[str]:
    """A line for each signing and encryption key. Raises ConfigurationError or StartupError."""
    keys = ClientKeySet(load_client_keys(path), clock=now)
    published = {str(member["kid"]).partition(".")[0] for member in _keys_of(keys.public_jwks())}
    for key in keys.keys:
        yield f"{key.kid}  {_moment(key.created_at)}  {_state(key, keys, published)}"


def client_keys_report(settings: Settings, *, jwks: bool) -> Iterator[str]:
    """The portal's public keys, for providers. Makes those that the key ring lacks.

    Raises ConfigurationError or StartupError.
    """
    complete_client_keys(settings.keys)
    if jwks:
        yield _json(ClientKeySet(load_client_keys(settings.keys), clock=now).public_jwks())
        return
    yield f"Providers find the portal's public keys at {_jwks_uri(settings)}"
    yield "A provider that cannot fetch them is given a copy: portal key show --jwks"
    yield ""
    yield from client_key_lines(settings.keys)


def registration_report(
    settings: Settings, tenant: Tenant, *, jwks: bool, as_json: bool, provider_id: str | None = None
) -> Iterator[str]:
    """What the providers of a tenant have to be told.

    Parameters: jwks, only the keys, as a JWK Set; as_json, as client metadata in one JSON text, which is by
    provider when there are several; provider_id, only what concerns that one.
    Raises: ConfigurationError or StartupError.
    """
    sites = _sites(settings, tenant)
    providers = list(tenant.providers.values())
    if provider_id is not None:
        providers = [provider for provider in providers if provider.id == provider_id]
        if not providers:
            hint = nearest(provider_id, [*tenant.providers])
            raise ConfigurationError([Problem(tenant.slug, f'has no provider "{provider_id}"{hint}')])
    if jwks or as_json:
        told = {
            provider.id: _key_set(settings, provider)
            if jwks
            else _metadata(settings, tenant, provider, sites)
            for provider in providers
        }
        yield _json(told if len(told) > 1 else told[providers[0].id])
        return
    for number, provider in enumerate(providers):
        if number:
            yield ""
        yield from _registration_lines(tenant, provider, sites)


def redirect_uri_lines(settings: Settings, tenant: Tenant) -> Iterator[str]:
    """A line for each redirect URI of a tenant with several providers; each provider has its own."""
    for provider in tenant.providers.values() if len(tenant.providers) > 1 else ():
        for site in _sites(settings, tenant):
            yield f"redirect URI of {provider.id}: {site.callback_url(tenant, provider.id)}"


def rotated_lines(settings: Settings, added: Sequence[ClientKey]) -> Iterator[str]:
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
            f"Providers that read {_jwks_uri(settings)} or a tenant's jwks.json follow by themselves; those "
            "that were given a copy need a new one: portal key show --jwks, portal key show TENANT --jwks"
        )


def removed_lines(settings: Settings, gone: ClientKey) -> Iterator[str]:
    """What the removal of a key means, after it. Raises ConfigurationError or StartupError."""
    removed = f"Removed the {gone.kind} key {gone.kid} from {settings.keys}"
    yield f"{removed}; running portals follow by themselves."
    left = load_client_keys(settings.keys)
    if gone.use != "sig" or ClientKeySet((*left, gone), clock=now).signing(gone.kind).kid != gone.kid:
        return
    successor = ClientKeySet(left, clock=now).signing(gone.kind)
    if successor.created_at + PUBLISHED_FIRST > now():
        yield (
            f"{successor.kid} ({successor.kind}) signs from now on; providers that have not fetched it yet "
            "refuse the portal until they do."
        )


def _state(key: ClientKey, keys: ClientKeySet, published: set[str]) -> str:
    if key.use == "enc":
        return f"{key.kind}  {'published, opens' if key.kid in published else 'opens'}"
    if keys.signing(key.kind) is key:
        return f"{key.kind}  published, signs"
    later = key.created_at + PUBLISHED_FIRST
    return f"{key.kind}  published{f', signs from {_moment(later)}' if later > now() else ''}"


def _registration_lines(tenant: Tenant, provider: Provider, sites: Sequence[Site]) -> Iterator[str]:
    yield f"{tenant.slug}, provider {provider.id}: {provider.issuer}"
    metadata = client_metadata(tenant, provider, sites)
    if known_by_certificate(provider):
        only = f" --provider {provider.id}" if len(tenant.providers) > 1 else ""
        metadata = {**metadata, "jwks": f"portal key show {tenant.slug}{only} --jwks"}
    for need in dict.fromkeys(("Required", *_NEEDS.values())):
        lines = [
            f"  {name:<39}{_shown(one)}"
            for name, value in metadata.items()
            for one in (value if isinstance(value, list) else [value])
            if _NEEDS.get(name, "Required") == need
        ]
        if lines:
            yield f"{need}:"
            yield from lines


def _metadata(settings: Settings, tenant: Tenant, provider: Provider, sites: Sequence[Site]) -> object:
    metadata = client_metadata(tenant, provider, sites)
    return {**metadata, "jwks": _key_set(settings, provider)} if known_by_certificate(provider) else metadata


def _key_set(settings: Settings, provider: Provider) -> object:
    of_certificate = _keys_of(certificate_key_set(provider)) if known_by_certificate(provider) else []
    if of_certificate and not uses_client_keys(provider):
        return {"keys": of_certificate}
    complete_client_keys(settings.keys)
    own = ClientKeySet(load_client_keys(settings.keys), clock=now)
    of_portal = (
        client_key_set(own, [provider])
        if provider.needs_signing_key and provider.client_key
        else own.public_jwks()
    )
    return {"keys": [*of_certificate, *_keys_of(of_portal)]}


def _sites(settings: Settings, tenant: Tenant) -> list[Site]:
    sites = Sites(settings.public_url, lambda host: tenant if host in tenant.hosts else None)
    return [sites.main, *(sites.find(host) for host in tenant.hosts)]


def _keys_of(key_set: Mapping[str, object]) -> list[dict[str, object]]:
    members = key_set["keys"]
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
