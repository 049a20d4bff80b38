"""The places that live checks name in the console of a provider come from its preset."""

from __future__ import annotations

import pytest

from portal.tenancy.checks.live.guide import GENERAL
from portal.tenancy.checks.preset_guide import console_places, guide_of
from portal.tenancy.presets import Preset, built_in
from portal.tenancy.presets.pages import preset_urls

URLS = preset_urls("https://portal.example.com", "acme")


def preset(name: str) -> Preset:
    found = built_in().find(name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", [name for name in built_in().names() if name != "generic"])
def test_each_preset_names_the_place_of_what_sign_ins_need(name: str) -> None:
    places = console_places(preset(name), URLS)
    assert "https://portal.example.com/t/acme/callback" in places["redirect_uri"]
    assert places["client.id"]
    assert all(text and "{" not in text for text in places.values())


def test_a_place_on_the_same_page_names_the_page() -> None:
    place = guide_of(preset("auth0"), URLS).place("client.secret")
    assert place.startswith("Auth0: Client Secret: On the same page, below the client id.")
    assert "Applications, your application, Settings" in place


def test_fields_that_determine_the_issuer_are_its_place() -> None:
    places = console_places(preset("entra"), URLS)
    assert places["issuer"] == places["fields.directory_id"]
    assert places["scopes"] == places["fields.api_scope"]


def test_the_callback_url_is_that_of_the_provider() -> None:
    urls = preset_urls("https://portal.example.com", "acme", "staff")
    assert "/t/acme/callback/staff " in console_places(preset("auth0"), urls)["redirect_uri"]


def test_nothing_is_known_about_the_console_of_any_provider() -> None:
    assert guide_of(preset("generic"), URLS) is GENERAL
