"""The providers in the content of a draft: where each has its keys, and adding and removing one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from portal.admin.editing import Keys, put_below, set_values, values
from portal.config.field_types import is_slug
from portal.sentences import message
from portal.tenancy.presets import DEFAULT, Preset, Presets
from portal.tenancy.presets.model import METADATA_PATHS
from portal.tenancy.presets.templates import placeholders
from portal.tenancy.schema.provider import ProviderFile
from portal.tenancy.schema.tenant import ONLY_PROVIDER, TenantBase

PROVIDER_KEYS = tuple(key for key in ProviderFile.model_fields if key not in TenantBase.model_fields)
"""The keys of a provider that a tenant with one provider has at the top level, beside those of the tenant."""
SEVERAL = "providers"
RESERVED = "new"
"""An id that the console uses in an address."""
MOST_PROVIDERS = 20

_OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "adfs": ("Active Directory Federation Services", "Windows Server"),
    "apple": ("iCloud", "Apple ID"),
    "cognito": ("AWS", "Amazon"),
    "entra": (
        "Microsoft Azure AD",
        "Azure Active Directory",
        "AAD",
        "Microsoft 365",
        "Office 365",
        "Outlook",
    ),
    "google": ("Gmail", "G Suite", "Google Workspace", "Google Cloud"),
    "keycloak": ("Red Hat SSO", "RHBK", "Red Hat build of Keycloak"),
    "login_gov": ("Login.gov",),
    "ping": ("PingOne", "PingFederate", "Ping Identity"),
}
"""What people call a provider beside its title, by the name of the preset."""


def provider_keys(root: Mapping[str, object]) -> dict[str, Keys]:
    """Return the keys that lead to each provider of a content, by its id; empty without providers."""
    several = root.get(SEVERAL)
    if isinstance(several, Mapping):
        return {id_: (SEVERAL, id_) for id_ in several}
    return {ONLY_PROVIDER: ()} if any(key in root for key in PROVIDER_KEYS) else {}


def is_begun_only(root: Mapping[str, object]) -> bool:
    """Whether the only provider has no client yet: another preset replaces it."""
    return list(provider_keys(root)) == [ONLY_PROVIDER] and "client" not in root and SEVERAL not in root


def free_id(wanted: str, root: Mapping[str, object]) -> str:
    """Return an id for a further provider: the wanted one, or with a number if there is one."""
    wanted = re.sub("[^a-z0-9]+", "-", wanted.lower()).strip("-")[:50] or "provider"
    taken = {*provider_keys(root), RESERVED}
    numbered = (f"{wanted}-{number}" for number in range(2, len(taken) + 3))
    return wanted if wanted not in taken else next(one for one in numbered if one not in taken)


def id_problem(id_: str, root: Mapping[str, object]) -> str | None:
    """The sentence for an id that a further provider cannot have."""
    if not is_slug(id_):
        return message("Use small letters, digits and hyphens, at most 63, such as staff.")
    if id_ == RESERVED:
        return message("The console uses this word in an address; choose another one.")
    return (
        message("There is a provider with this short name already.") if id_ in provider_keys(root) else None
    )


def with_provider(content: str, slug: str, id_: str, first_id: str, keys: Mapping[str, object]) -> str:
    """Return a content with a further provider.

    Parameters: slug, of the tenant, for messages; id_, of the provider, if there will be several; first_id,
    of the one that was the only one until now; keys, those of the new provider in a tenant file.
    Raises: ConfigurationError.
    """
    root = values(content, slug)
    if is_begun_only(root):
        gone: dict[Keys, object] = {(key,): None for key in PROVIDER_KEYS if key in root and key not in keys}
        return set_values(content, gone | {(key,): value for key, value in keys.items()}, slug)
    if not provider_keys(root):
        return set_values(content, {(key,): value for key, value in keys.items()}, slug)
    if SEVERAL not in root:
        content = put_below(content, PROVIDER_KEYS, (SEVERAL, first_id), slug)
        content = set_values(content, _renamed_admins(root, first_id), slug)
    return set_values(content, {(SEVERAL, id_): dict(keys)}, slug)


def with_other_kind(content: str, slug: str, id_: str, keys: Mapping[str, object]) -> str:
    """Return a content in which another provider has the place of one: its id, and its label.

    Parameters: keys, those of the new provider in a tenant file. Raises: ConfigurationError, KeyError if
    there is no provider with this id.
    """
    root = values(content, slug)
    at = provider_keys(root)[id_]
    now: Any = root[SEVERAL][id_] if at else root
    label = {"label": now["label"]} if isinstance(now, Mapping) and "label" in now else {}
    if at:
        return set_values(content, {at: {**keys, **label}}, slug)
    gone: dict[Keys, object] = {(key,): None for key in PROVIDER_KEYS if key in root and key != "label"}
    return set_values(content, gone | {(key,): value for key, value in keys.items()}, slug)


def _renamed_admins(root: Mapping[str, Any], first_id: str) -> dict[Keys, object]:
    """The change that rules for admins need when the only provider gets an id."""
    admins = root.get("admins")
    if not isinstance(admins, list):
        return {}
    renamed = [
        {**one, "provider": first_id}
        if isinstance(one, dict) and one.get("provider") == ONLY_PROVIDER
        else one
        for one in admins
    ]
    return {("admins",): renamed}


def without_provider(content: str, slug: str, id_: str) -> str:
    """Return a content without a provider. Raises: ConfigurationError, KeyError if there is none."""
    at = provider_keys(values(content, slug))[id_]
    gone: dict[Keys, object] = {at: None} if at else {(key,): None for key in PROVIDER_KEYS}
    return set_values(content, gone, slug)


# --- what somebody pastes


def issuer_of(pasted: str) -> tuple[str, bool]:
    """Return the issuer in the URL of metadata, and whether the URL was longer; other text as it is."""
    for path in METADATA_PATHS:
        before, found, after = pasted.partition(path)
        if found and after in ("", "/"):
            return before, True
    return pasted, False


def is_address(typed: str) -> bool:
    """Whether somebody typed an address of a provider, and not its name."""
    return " " not in typed and ("." in typed or "://" in typed)


def named(typed: str, presets: Presets) -> tuple[Preset, ...]:
    """Return the presets whose name, title or other names contain what was typed."""
    wanted = _plain(typed)
    if len(wanted) < 2:
        return ()
    return tuple(
        one
        for one in presets.all()
        if one.name != DEFAULT
        and any(wanted in _plain(name) for name in (one.name, one.title, *_OTHER_NAMES.get(one.name, ())))
    )


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]+", "", name.casefold())


def recognized(pasted: str, presets: Presets) -> tuple[Preset | None, dict[str, object]]:
    """Return the preset for an issuer or its metadata's URL, and the keys of a provider with this issuer.

    None: no preset knows it, and the keys are those of the generic one.
    """
    issuer, _ = issuer_of(pasted if "://" in pasted else f"https://{pasted}")
    for form in dict.fromkeys((issuer, issuer.rstrip("/"), f"{issuer.rstrip('/')}/")):
        preset = presets.recognize(form)
        if preset is not None:
            return preset, _keys_with_issuer(preset, form)
    return None, {"preset": DEFAULT, "issuer": issuer}


def _keys_with_issuer(preset: Preset, issuer: str) -> dict[str, object]:
    fixed = preset.default_issuer
    if fixed is not None and fixed.rstrip("/") == issuer.rstrip("/"):
        return preset.tenant_keys({})
    form = str(preset.provider.get("issuer", "{issuer}"))
    pattern = re.escape(form)
    for name in placeholders(form):
        group = ".+" if name == "issuer" else "[^/]+"
        pattern = pattern.replace(re.escape(f"{{{name}}}"), f"(?P<{name}>{group})", 1)
    match = re.fullmatch(pattern, issuer) or re.fullmatch(pattern, f"{issuer.rstrip('/')}/")
    if match is not None and preset.fields.keys() >= match.groupdict().keys():
        return preset.tenant_keys(match.groupdict())
    return {**preset.tenant_keys({}), "issuer": issuer}
