"""What a preset tells the live checks: where its provider's console has what, and what errors mean."""

from __future__ import annotations

import re
from collections.abc import Mapping

from portal.tenancy.checks.live.guide import GENERAL, Guide
from portal.tenancy.presets import DEFAULT, Preset
from portal.tenancy.presets.templates import fill_known, placeholders

_SAME_PLACE = ("On the same page", "From the same place")
"""How the help of a field begins that refers to the field before it."""
_CLIENT_AUTH = re.compile("(?i)authentication method|client authentication")


def guide_of(preset: Preset, urls: Mapping[str, str]) -> Guide:
    """Return the guide for the providers of a preset. Parameters: urls, of the portal, see `preset_urls`."""
    if preset.name == DEFAULT:
        return GENERAL
    return Guide(preset.title, places=console_places(preset, urls), error_advice=preset.error_advice)


def console_places(preset: Preset, urls: Mapping[str, str]) -> dict[str, str]:
    """Return where the provider's console has what belongs to a key, as `Guide.places`.

    Parameters: urls, of the portal, see `preset_urls`.
    """
    of_fields = _places_of_fields(preset)
    places = {".".join(one.key): of_fields[name] for name, one in preset.fields.items()}
    issuer = " ".join(of_fields[name] for name in preset.issuer_needs)
    scopes = " ".join(of_fields[name] for name in preset.fields if name in _scope_fields(preset))
    others = {
        "issuer": issuer,
        "scopes": scopes,
        "redirect_uri": _step(preset, re.compile(re.escape("{callback_url}")), urls),
        "client.auth": _step(preset, _CLIENT_AUTH, urls),
    }
    return {**{key: text for key, text in others.items() if text}, **places}


def _places_of_fields(preset: Preset) -> dict[str, str]:
    places: dict[str, str] = {}
    before = ""
    for name, one in preset.fields.items():
        text = f"{one.label}: {one.help}"
        places[name] = f"{text} ({before})" if before and one.help.startswith(_SAME_PLACE) else text
        before = before if one.help.startswith(_SAME_PLACE) else text
    return places


def _scope_fields(preset: Preset) -> set[str]:
    return placeholders(preset.provider.get("scopes", []))


def _step(preset: Preset, pattern: re.Pattern[str], urls: Mapping[str, str]) -> str:
    """The first step in the console with a pattern, with the portal's URLs."""
    found = (step for step in preset.console if pattern.search(step))
    return fill_known(next(found, ""), urls)
