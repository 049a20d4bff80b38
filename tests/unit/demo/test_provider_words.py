"""The pages of the development provider in German."""

from __future__ import annotations

import ast
import html
import inspect
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

import portal.demo
from portal.demo import provider_authorize, provider_logout, provider_pages
from portal.demo.organisations import ORGANISATIONS
from portal.demo.provider_model import IDENTITY_SCOPES
from portal.demo.provider_words import GERMAN, LANGUAGES, words_for
from scripts.words import bare_text, html_of_values, stored_texts, template_code
from tests.kit.browser import Response
from tests.unit.demo.parties import document, serving

PAGES = {
    path.name: re.sub(r"{% raw (.*?) %}", r"{{ \1 }}", path.read_text())  # what `template_code` reads
    for path in (Path(portal.demo.__file__).parent / "pages").glob("*.html")
}
TAG = re.compile(r"</?[a-z]+>|%\(\w+\)s")


def test_every_text_of_a_page_is_marked() -> None:
    assert len(PAGES) == 8
    for name, source in PAGES.items():
        assert bare_text(source) == [], name
        assert html_of_values(source) == [], name


def marked() -> Iterator[str]:
    """The messages of the templates."""
    for source in PAGES.values():
        for code in template_code(source):
            for node in ast.walk(code):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_":
                    (argument,) = node.args
                    if isinstance(argument, ast.Constant):
                        yield str(argument.value)


def refusals() -> Iterator[str]:
    """What the page of an error says."""
    for module in (provider_authorize, provider_logout):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "RequestUntrusted":
                assert isinstance(node.args[0], ast.Constant)
                yield str(node.args[0].value)
    yield from stored_texts(ast.parse(inspect.getsource(provider_pages._explain)))
    yield "The id_token_hint is invalid."


def test_every_message_has_a_german_text_and_none_is_unused() -> None:
    scopes = [one for organisation in ORGANISATIONS for one in organisation.api_scopes.values()]
    scopes += [one for organisation in ORGANISATIONS for one in organisation.step_up_scopes.values()]
    assert set(GERMAN) == {*marked(), *refusals(), *IDENTITY_SCOPES.values(), *scopes}


@pytest.mark.parametrize(("english", "german"), GERMAN.items())
def test_a_translation_has_the_same_tags_and_values(english: str, german: str) -> None:
    assert Counter(TAG.findall(english)) == Counter(TAG.findall(german))


@pytest.mark.parametrize(
    ("ui_locales", "accept_language", "tag"),
    [
        ("", "", "en"),
        ("de", "", "de"),
        ("fr de-AT en", "en", "de"),
        ("en-GB", "de", "en"),
        ("fr", "de-DE,en;q=0.5", "de"),
        ("", "fr, en;q=0.5, de;q=0.4", "en"),
        ("d" * 1000, "x", "en"),
    ],
)
def test_the_first_known_language_counts(ui_locales: str, accept_language: str, tag: str) -> None:
    assert words_for(ui_locales=ui_locales, accept_language=accept_language).tag == tag


def english_texts(page: Response) -> list[str]:
    """The messages that a page shows in English although they have another German text."""
    text = html.unescape(re.sub(r"<(?:code|style)>.*?</(?:code|style)>|<[^>]+>", "\n", page.text))
    lines = {line.strip() for line in text.splitlines()}
    return [message for message, german in GERMAN.items() if message != german and message in lines]


@pytest.mark.gen_test
async def test_ui_locales_decides_the_language_of_every_page_of_a_sign_in(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key, consent_required=True, show_users=True) as party:
        page = await party.follow(await party.ask(ui_locales="de-DE en", acr_values="mfa"))
        check_german(page, "Anmelden")
        wrong = await party.send_form(page, username="alice", password="wrong")
        check_german(wrong, "ist falsch")
        second = await party.follow(await party.send_form(wrong, username="alice", password="pw-alice"))
        check_german(second, "Bestätigen Sie")
        consent = await party.follow(await party.send_form(second, code="246810"))
        check_german(consent, "Bestellungen sehen")
        check_german(await party.browser.step(party.url("/logout", ui_locales="de")), "Abmelden?")
        check_german(
            await party.browser.step(
                party.url("/logout", client_id="x", post_logout_redirect_uri="y", ui_locales="de")
            ),
            "nicht registriert",
        )


def check_german(page: Response, text: str) -> None:
    assert text in page.text
    assert '<html lang="de">' in page.text
    assert page.headers["Content-Language"] == "de"
    assert english_texts(page) == []


@pytest.mark.gen_test
async def test_without_ui_locales_the_browser_decides(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        for header, text in (("de", "Sie sind nicht angemeldet"), ("fr, en", "You are not signed in")):
            page = await party.browser.fetch(party.url("/"), headers={"Accept-Language": header})
            assert text in page.text
            missing = await party.browser.fetch(party.url("/sign-in/x"), headers={"Accept-Language": header})
            assert ("Diese Seite gibt es nicht" in missing.text) == (header == "de")


@pytest.mark.gen_test
async def test_the_metadata_names_the_languages(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key) as party:
        metadata = document(await party.get("/.well-known/openid-configuration"))
        assert metadata["ui_locales_supported"] == [*LANGUAGES] == ["en", "de"]


@pytest.mark.gen_test
async def test_a_name_cannot_bring_html_into_a_page(signing_key: RSAPrivateKey) -> None:
    async with serving(signing_key, name="<b>A</b>") as party:
        await party.sign_in()
        page = await party.browser.step(party.url("/"))
        assert "<b>" not in page.text
        assert "Sign out of &lt;b&gt;A&lt;/b&gt;" in page.text
