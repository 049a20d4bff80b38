"""The data of the pages for a draft's providers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from portal.admin.editing import values
from portal.admin.provider_entries import provider_keys
from portal.sentences import message
from portal.tenancy.presets import DEFAULT, Preset, Presets
from portal.tenancy.presets.logo import logo_svg
from portal.web.admin.asked_views import AskedView
from portal.web.markup import Markup

_COMMON = (
    *("entra", "google", "okta", "auth0", "keycloak", "cognito", "ping", "onelogin", "adfs", "gitlab"),
    *("zitadel", "authentik", "fusionauth", "salesforce", "duo", "apple", "linkedin", "login_gov"),
)
"""The built-in presets, the most common first. Presets of the operator come before them."""
_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_URL_LABELS: Mapping[str, str] = {
    "callback_url": message("Callback URL (redirect URI)"),
    "signed_out_url": message("URL after a logout"),
    "backchannel_logout_url": message("Back-channel logout URL"),
    "frontchannel_logout_url": message("Front-channel logout URL"),
    "initiate_login_url": message("URL that begins a sign-in"),
    "jwks_url": message("URL of the portal's keys"),
    "portal_url": message("URL of the portal"),
}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a sentence; `url`: what somebody copies, and what it is."""

    text: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class GuideStep:
    """A step at the provider's console; the page translates `text` before it takes the parts."""

    text: str
    urls: Mapping[str, str]

    def parts(self, text: str) -> tuple[Part, ...]:
        """The parts of the translated text."""
        return parts_of(text, self.urls)


@dataclass(frozen=True, slots=True)
class PresetCard:
    """A kind of provider that can be chosen."""

    name: str
    title: str
    logo: Markup


@dataclass(frozen=True, slots=True)
class Existing:
    """A provider of the draft."""

    id: str
    title: str
    logo: Markup
    callback_url: str


@dataclass(frozen=True, slots=True)
class Found:
    """What the field "Which provider is this?" found."""

    query: str
    """The address that fills in the form; empty when a name was typed."""
    cards: tuple[PresetCard, ...]
    known: bool
    address: bool = False
    """Whether an address was typed, and not a name."""


@dataclass(frozen=True, slots=True)
class ChoicePage:
    """`GET /admin/t/{tenant}/draft/providers/new`."""

    slug: str
    replaces: str
    cards: tuple[PresetCard, ...]
    existing: tuple[Existing, ...]
    changes_callback: Existing | None
    """The only provider so far: its callback URL changes with a second one."""
    has_id: bool
    """Whether the only provider has a short name already."""
    id: AskedView | None
    """The short name of the further provider; None for the first."""
    first_id: AskedView | None
    instead: Existing | None = None
    """The provider whose kind is chosen again."""
    query: str = ""
    query_error: str = ""
    found: Found | None = None
    notice: str = ""


@dataclass(frozen=True, slots=True)
class ProviderPage:
    """`GET /admin/t/{tenant}/draft/providers/{provider}`."""

    slug: str
    id: str
    several: bool
    title: str
    logo: Markup
    generic: bool
    steps: tuple[GuideStep, ...]
    logout: tuple[GuideStep, ...]
    notes: tuple[str, ...]
    unverified: tuple[str, ...]
    fields: tuple[AskedView, ...]
    more: tuple[AskedView, ...]
    more_open: bool
    replaces: str
    here: tuple[str, ...] = ()
    """Problems of this provider that belong to no field."""
    elsewhere: int = 0
    problems: int = 0
    """Of the draft."""
    has_secret: bool = True
    notices: tuple[str, ...] = ()
    saved: bool = False
    conflict: bool = False
    refused: bool = False
    unavailable: bool = False
    """Whether the database does not respond."""


@dataclass(frozen=True, slots=True)
class RemovePage:
    """`GET /admin/t/{tenant}/draft/providers/{provider}/remove`."""

    slug: str
    id: str
    title: str
    replaces: str
    left: Existing | None
    """The only one that is left: its callback URL becomes another."""
    last: bool
    notice: str = ""


def preset_cards(presets: Presets) -> tuple[PresetCard, ...]:
    """The kinds of providers that can be chosen, without the generic one, the most common first."""
    order = {name: number for number, name in enumerate(_COMMON)}
    found = sorted(
        (one for one in presets.all() if one.name != DEFAULT),
        key=lambda one: (order.get(one.name, -1), one.title.casefold()),
    )
    return tuple(map(preset_card, found))


def preset_card(preset: Preset) -> PresetCard:
    """The card of a preset."""
    title = message("Another provider") if preset.name == DEFAULT else preset.title
    return PresetCard(preset.name, title, logo_of(preset))


def logo_of(preset: Preset) -> Markup:
    """The picture of a preset; its letters and colour are checked and escaped."""
    return Markup(logo_svg(preset.logo).encode())


def preset_at(root: Mapping[str, object], keys: tuple[str, ...], presets: Presets) -> Preset:
    """The preset of a provider of a content; the generic one if it names none that can be used."""
    holder: object = root
    for key in keys:
        holder = holder.get(key) if isinstance(holder, Mapping) else None
    name = holder.get("preset", DEFAULT) if isinstance(holder, Mapping) else DEFAULT
    usable = {one.name: one for one in presets.all()}
    return usable.get(str(name)) or usable[DEFAULT]


def existing_providers(content: str, slug: str, presets: Presets, callback: str) -> tuple[Existing, ...]:
    """The providers of a content. Parameters: callback, the URL for a single one."""
    root = values(content, slug)
    found = provider_keys(root)
    several = len(found) > 1
    made = []
    for id_, keys in found.items():
        preset = preset_at(root, keys, presets)
        url = f"{callback}/{id_}" if several else callback
        made.append(Existing(id_, preset_card(preset).title, logo_of(preset), url))
    return tuple(made)


def parts_of(text: str, urls: Mapping[str, str]) -> tuple[Part, ...]:
    """A step with the URLs to copy as parts of their own."""
    pieces = _PLACEHOLDER.split(text)
    parts = []
    for number, piece in enumerate(pieces):
        if number % 2 == 0:
            parts.append(Part(piece))
        else:
            parts.append(Part(urls.get(piece, f"{{{piece}}}"), _URL_LABELS.get(piece, "")))
    if len(parts) > 1 and parts[-1].text == ".":
        parts.pop()  # it would stand alone after the URL and its button
    return tuple(part for part in parts if part.text)
