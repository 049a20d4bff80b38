"""The output of `portal key`: the keys, and the client metadata to register at providers."""

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
    has_self_signed_certificate,
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
"""Optional client metadata, and when it is useful."""


def vault_key_lines(path: Path) -> Iterator[str]:
    """A line for each vault key, the newest last. Raises ConfigurationError or StartupError."""
    ring = KeyRing.load(path)
    for kid in ring.kids:
        found = ring.find(kid)
        made = _time_text(found.created_at) if found else ""
        yield f"{kid}  {made}  {'encrypts and decrypts' if kid == ring.newest.kid else 'decrypts'}"


def client_key_lines(path: Path) -> Iterator[str]:
    """A line for each signing and encryption key. Raises ConfigurationError or StartupError."""
    keys = ClientKeySet(load_client_keys(path), clock=now)
    published = {str(member["kid"]).partition(".")[0] for member in _keys_of(keys.public_jwks())}
    for key in keys.keys:
        yield f"{key.kid}  {_time_text(key.created_at)}  {_state(key, keys, published)}"


def client_keys_report(settings: Settings, *, jwks: bool) -> Iterator[str]:
    """The portal's public keys, for providers. Adds missing keys to the key ring.

    Raises ConfigurationError or StartupError.
    """
    complete_client_keys(settings.keys)
    if jwks:
        yield _json(ClientKeySet(load_client_keys(settings.keys), clock=now).public_jwks())
        return
    yield f"Providers find the portal's public keys at {_jwks_uri(settings)}"
    yield "For a provider that cannot fetch them, print a copy: portal key show --jwks"
    yield ""
    yield from client_key_lines(settings.keys)


def registration_report(
    settings: Settings, tenant: Tenant, *, jwks: bool, as_json: bool, provider_id: str | None = None
) -> Iterator[str]:
    """The client metadata to register at the providers of a tenant.

    Parameters: jwks, print only the keys, as a JWK Set; as_json, print client metadata as JSON, keyed by
    provider id when there are several; provider_id, only this provider.
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
        documents = {
            provider.id: _key_set(settings, provider)
            if jwks
            else _metadata(settings, tenant, provider, sites)
            for provider in providers
        }
        yield _json(documents if len(documents) > 1 else documents[providers[0].id])
        return
    for number, provider in enumerate(providers):
        if number:
            yield ""
        yield from _registration_lines(tenant, provider, sites)


def redirect_uris(settings: Settings, tenant: Tenant, provider_id: str) -> tuple[str, ...]:
    """Return the redirect URIs of a provider: at the portal's own host, and at each host of the tenant."""
    return tuple(site.callback_url(tenant, provider_id) for site in _sites(settings, tenant))


def redirect_uri_lines(settings: Settings, tenant: Tenant) -> Iterator[str]:
    """A line for each redirect URI of a tenant with several providers; each provider has its own."""
    for provider in tenant.providers.values() if len(tenant.providers) > 1 else ():
        for uri in redirect_uris(settings, tenant, provider.id):
            yield f"redirect URI of {provider.id}: {uri}"


def rotated_lines(settings: Settings, added: Sequence[ClientKey]) -> Iterator[str]:
    """Explain the effect of a rotation of the portal's client keys."""
    signing = [f"{key.kid} ({key.kind})" for key in added if key.use == "sig"]
    encrypting = [f"{key.kid} ({key.kind})" for key in added if key.use == "enc"]
    if signing:
        begin = _time_text(max(key.created_at for key in added) + PUBLISHED_FIRST)
        yield (
            f"New signing keys: {', '.join(signing)}. They are published now and sign from {begin}, so "
            "that providers can fetch them first. Older keys stay published until `portal key remove`."
        )
    if encrypting:
        yield (
            f"New encryption keys: {', '.join(encrypting)}. They are published in place of the older keys, "
            "which still decrypt."
        )
    if added:
        yield (
            f"Providers that fetch {_jwks_uri(settings)} or a tenant's jwks.json update automatically. "
            "Providers with a copy need a new one: portal key show --jwks, portal key show TENANT --jwks"
        )


def removed_lines(settings: Settings, removed: ClientKey) -> Iterator[str]:
    """Explain the effect of a key removal. Raises ConfigurationError or StartupError."""
    yield f"Removed the {removed.kind} key {removed.kid} from {settings.keys}; running portals reload it."
    remaining = load_client_keys(settings.keys)
    if removed.use != "sig":
        return
    if ClientKeySet((*remaining, removed), clock=now).signing(removed.kind).kid != removed.kid:
        return
    successor = ClientKeySet(remaining, clock=now).signing(removed.kind)
    if successor.created_at + PUBLISHED_FIRST > now():
        yield (
            f"{successor.kid} ({successor.kind}) signs from now on. Providers that have not fetched it yet "
            "reject the portal until they do."
        )


def _state(key: ClientKey, keys: ClientKeySet, published: set[str]) -> str:
    if key.use == "enc":
        return f"{key.kind}  {'published, decrypts' if key.kid in published else 'decrypts'}"
    if keys.signing(key.kind) is key:
        return f"{key.kind}  published, signs"
    later = key.created_at + PUBLISHED_FIRST
    return f"{key.kind}  published{f', signs from {_time_text(later)}' if later > now() else ''}"


def _registration_lines(tenant: Tenant, provider: Provider, sites: Sequence[Site]) -> Iterator[str]:
    yield f"{tenant.slug}, provider {provider.id}: {provider.issuer}"
    metadata = client_metadata(tenant, provider, sites)
    if has_self_signed_certificate(provider):
        only = f" --provider {provider.id}" if len(tenant.providers) > 1 else ""
        metadata = {**metadata, "jwks": f"portal key show {tenant.slug}{only} --jwks"}
    for need in dict.fromkeys(("Required", *_NEEDS.values())):
        lines = [
            f"  {name:<39}{_display_value(one)}"
            for name, value in metadata.items()
            for one in (value if isinstance(value, list) else [value])
            if _NEEDS.get(name, "Required") == need
        ]
        if lines:
            yield f"{need}:"
            yield from lines


def _metadata(settings: Settings, tenant: Tenant, provider: Provider, sites: Sequence[Site]) -> object:
    metadata = client_metadata(tenant, provider, sites)
    return (
        {**metadata, "jwks": _key_set(settings, provider)}
        if has_self_signed_certificate(provider)
        else metadata
    )


def _key_set(settings: Settings, provider: Provider) -> object:
    certificate_keys = (
        _keys_of(certificate_key_set(provider)) if has_self_signed_certificate(provider) else []
    )
    if certificate_keys and not uses_client_keys(provider):
        return {"keys": certificate_keys}
    complete_client_keys(settings.keys)
    client_keys = ClientKeySet(load_client_keys(settings.keys), clock=now)
    key_set = (
        client_key_set(client_keys, [provider])
        if provider.needs_signing_key and provider.client_key
        else client_keys.public_jwks()
    )
    return {"keys": [*certificate_keys, *_keys_of(key_set)]}


def _sites(settings: Settings, tenant: Tenant) -> list[Site]:
    sites = Sites(settings.public_url, lambda host: tenant if host in tenant.hosts else None)
    return [sites.main, *(sites.find(host) for host in tenant.hosts)]


def _keys_of(key_set: Mapping[str, object]) -> list[dict[str, object]]:
    members = key_set["keys"]
    if not isinstance(members, list):
        raise BadRequest("the member keys of a JWK Set must be a list")
    return members


def _jwks_uri(settings: Settings) -> str:
    return settings.public_url.rstrip("/") + JWKS_PATH


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _display_value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _time_text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
