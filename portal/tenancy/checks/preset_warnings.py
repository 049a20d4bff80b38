"""Warnings and hints of `portal tenant check` that depend on what a preset knows about its provider."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from portal.oidc.provider import Provider
from portal.tenancy.presets import DEFAULT, OFFLINE_ACCESS, Presets
from portal.tenancy.presets.model import ApiRules
from portal.tenancy.schema.provider import ProviderFile

_OPENID_SCOPES = frozenset(("openid", "profile", "email", "address", "phone", "groups", OFFLINE_ACCESS))


def api_warnings(provider_file: ProviderFile, provider: Provider) -> Iterator[tuple[str, str]]:
    """Yield a warning if access tokens cannot be for the tenant's API: its key, and the message."""
    rules: ApiRules | None = provider_file.kind.api
    if rules is None or rules.needs is None or provider.resources:
        return
    given = {
        "audience": provider.audience is not None,
        "scope": bool(set(provider.scopes) - _OPENID_SCOPES),
        "issuer_path": urlsplit(provider.issuer).path.strip("/") != "",
    }
    if not given[rules.needs]:
        yield "preset", rules.advice


def recognized_preset_hints(
    provider_file: ProviderFile, provider: Provider, presets: Presets
) -> Iterator[tuple[str, str]]:
    """Yield a hint if the issuer of a generic provider has the form of a known kind of provider."""
    if provider_file.preset != DEFAULT:
        return
    known = presets.recognize(provider.issuer)
    if known is not None:
        yield "issuer", f"this is an issuer of {known.title}; preset: {known.name} knows its settings"
