"""What may be missing in a tenant file, though nothing is wrong with it; `portal tenant check` tells it.

A hint is about providers of a kind, not about the one that the file names, of which the file does not tell
enough. What surely has no effect or is a risk is a warning, see `advice`.
"""

from __future__ import annotations

from collections.abc import Iterator

from portal.config.yaml_document import Document, KeyPath
from portal.errors import Problem
from portal.oidc.provider import Provider
from portal.tenancy.presets import OFFLINE_ACCESS, PRESETS
from portal.tenancy.schema.tenant import ProviderFile

_CLAIM_KEYS = ("claims", "access")
"""Keys of a tenant or provider that name claims."""
_GROUPS = "groups"


def hints(document: Document, above: KeyPath, written: ProviderFile, provider: Provider) -> list[Problem]:
    """What one provider of a tenant file may need.

    Parameters: above, where in the document the provider is; written, what is there.
    """
    found = [
        *_of_refresh_tokens(written, provider),
        *_of_thin_id_tokens(written),
        *_of_groups(document, above, written),
    ]
    return [Problem(document.place((*above, key)), message) for key, message in found]


def _of_refresh_tokens(written: ProviderFile, provider: Provider) -> Iterator[tuple[str, str]]:
    # OIDC Core 11
    prompt = dict(provider.authorize_params).get("prompt", "").split()
    asks = OFFLINE_ACCESS in provider.scopes
    if PRESETS[written.preset].offline_needs_consent and asks and "consent" not in prompt:
        yield (
            "scopes",
            "offline_access: some providers give a refresh token only with "
            "authorize_params: {prompt: consent}; the log says refresh_token_missing when there is none",
        )


def _of_thin_id_tokens(written: ProviderFile) -> Iterator[tuple[str, str]]:
    if written.preset == "generic" and written.userinfo is None:
        yield (
            "preset",
            "providers whose ID tokens have neither name nor e-mail address, such as LemonLDAP::NG, need "
            "userinfo: true; write userinfo: false when yours has them",
        )


def _of_groups(document: Document, above: KeyPath, written: ProviderFile) -> Iterator[tuple[str, str]]:
    preset = PRESETS[written.preset]
    if preset.groups_limit is None:
        return
    holders: list[object] = [document.root]
    for step in above:
        inner = holders[-1]
        holders.append(inner.get(step) if isinstance(inner, dict) else None)
    named = [holder.get(key) for holder in holders if isinstance(holder, dict) for key in _CLAIM_KEYS]
    if any(map(_names_groups, named)):
        yield (
            "preset",
            f"{preset.title} leaves groups out of the tokens of users in more than {preset.groups_limit} of "
            "them; use app roles, or let it send only groups that are assigned to the application",
        )


def _names_groups(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_names_groups, value.values()))
    if isinstance(value, list):
        return any(map(_names_groups, value))
    return value == _GROUPS
