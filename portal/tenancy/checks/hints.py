"""Hints of `portal tenant check` about keys that may be missing in a valid tenant file.

A hint concerns a kind of provider; the file alone does not show whether it applies to this provider. For
keys without effect and for risks, see `find_warnings`.
"""

from __future__ import annotations

from collections.abc import Iterator

from portal.config.yaml_document import Document, KeyPath
from portal.errors import Problem
from portal.oidc.provider import Provider
from portal.tenancy.checks.preset_warnings import recognized_preset_hints
from portal.tenancy.presets import DEFAULT, OFFLINE_ACCESS, Presets
from portal.tenancy.schema.provider import ProviderFile

_CLAIM_KEYS = ("claims", "access")
"""Keys of a tenant or provider that name claims."""
_GROUPS = "groups"


def find_hints(
    document: Document,
    provider_path: KeyPath,
    provider_file: ProviderFile,
    provider: Provider,
    presets: Presets,
) -> list[Problem]:
    """Return keys that one provider of a tenant file may need.

    Parameters: provider_path, the key path of the provider in the document; provider_file, its part of the
    file; provider, the provider read from it; presets, that the file could name.
    """
    found = [
        *_refresh_token_hints(provider_file, provider),
        *_userinfo_hints(provider_file),
        *recognized_preset_hints(provider_file, provider, presets),
        *_group_hints(document, provider_path, provider_file),
    ]
    return [Problem(document.place((*provider_path, key)), message) for key, message in found]


def _refresh_token_hints(provider_file: ProviderFile, provider: Provider) -> Iterator[tuple[str, str]]:
    # OIDC Core 11
    prompt = dict(provider.authorize_params).get("prompt", "").split()
    requests_offline_access = OFFLINE_ACCESS in provider.scopes
    if provider_file.kind.offline_needs_consent and requests_offline_access and "consent" not in prompt:
        yield (
            "scopes",
            "offline_access: some providers issue a refresh token only with "
            "authorize_params: {prompt: consent}; the log has refresh_token_missing if there was none",
        )


def _userinfo_hints(provider_file: ProviderFile) -> Iterator[tuple[str, str]]:
    if provider_file.preset == DEFAULT and provider_file.userinfo is None:
        yield (
            "preset",
            "providers whose ID tokens contain neither name nor e-mail address, such as LemonLDAP::NG, need "
            "userinfo: true; write userinfo: false if yours contain them",
        )


def _group_hints(
    document: Document, provider_path: KeyPath, provider_file: ProviderFile
) -> Iterator[tuple[str, str]]:
    preset, limit = provider_file.kind, provider_file.kind.claims.groups_limit
    if limit is None:
        return
    mappings: list[object] = [document.root]
    for step in provider_path:
        inner = mappings[-1]
        mappings.append(inner.get(step) if isinstance(inner, dict) else None)
    named = [mapping.get(key) for mapping in mappings if isinstance(mapping, dict) for key in _CLAIM_KEYS]
    if any(map(_names_groups, named)):
        yield (
            "preset",
            f"{preset.title} omits groups from tokens of users in more than {limit} groups; "
            "use app roles, or configure it to send only groups that are assigned to the application",
        )


def _names_groups(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_names_groups, value.values()))
    if isinstance(value, list):
        return any(map(_names_groups, value))
    return value == _GROUPS
