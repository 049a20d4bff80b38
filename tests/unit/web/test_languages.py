"""The language of a page: who chooses it, and how sentences, numbers of things and times are shown in it."""

from __future__ import annotations

import functools
from gettext import NullTranslations

import pytest
from babel import Locale

from portal.sentences import capitalized, listed, message, moment, plural_sentence, sentence
from portal.web.assets import load_templates
from portal.web.languages import ENGLISH, Language, Languages, load_languages
from portal.web.languages.choice import accepted_tags, requested_tags
from portal.web.languages.stored_texts import LONGEST
from portal.web.markup import Markup
from tests.kit.page_samples import EVERY, static_url

AT = 1_763_820_180.0
TIME = '<time datetime="2025-11-22T14:03:00Z" data-time="minute">22. November 2025, 14:03 UTC</time>'


@functools.cache
def languages() -> Languages:
    return load_languages()


def german() -> Language:
    found = languages().find(["de"])
    assert found is not None
    return found


# --- the choice


@pytest.mark.parametrize(
    ("header", "tags"),
    [
        ("", ()),
        ("de", ("de",)),
        ("DE-at, en;q=0.8", ("de-at", "en")),
        ("fr;q=0.3, de;q=0.7, en;q=0.5", ("de", "en", "fr")),
        ("en, de", ("en", "de")),
        ("de;q=0, en", ("en",)),
        ("*, en;q=0.1", ("en",)),
        ("de;q=2, en;q=x, sv;level=1, nl", ("nl",)),
        ("de;q=0.12345, it", ("it",)),
        ("<script>, de", ("de",)),
        (",".join(["de"] * 1000), ()),
        ("x" * 501, ()),
    ],
)
def test_accept_language_is_read_in_the_order_of_preference(header: str, tags: tuple[str, ...]) -> None:
    assert accepted_tags(header) == tags


def test_ui_locales_are_tags_with_spaces_between_them() -> None:
    assert requested_tags("fr-CA de  <x> en") == ("fr-ca", "de", "en")
    assert requested_tags("de " * 200) == ()


@pytest.mark.parametrize(
    ("accept", "ui_locales", "chosen", "tag"),
    [
        ("", "", "", None),
        ("fr", "", "", None),
        ("fr, de-CH;q=0.5", "", "", "de"),
        ("en-US,en;q=0.9", "", "", "en-GB"),
        ("de", "", "en-GB", "en-GB"),
        ("en", "de", "en-GB", "de"),
        ("de", "fr", "nonsense", "de"),
        ("en-US, de", "", "", "en-GB"),
    ],
)
def test_the_parameter_counts_before_the_choice_and_the_header(
    accept: str, ui_locales: str, chosen: str, tag: str | None
) -> None:
    found = languages().requested(accept, ui_locales=ui_locales, chosen=chosen)
    assert (found.tag if found else None) == tag


def test_there_are_english_and_german() -> None:
    assert [(one.tag, one.direction, one.name) for one in languages().all] == [
        ("en-GB", "ltr", "English"),
        ("de", "ltr", "Deutsch"),
    ]


# --- texts


def test_a_message_is_translated_and_another_text_stays() -> None:
    assert german().text("Sign in again") == "Erneut anmelden"
    assert german().text("no message of the portal") == "no message of the portal"
    assert ENGLISH.text("Sign in again") == "Sign in again"


def test_a_number_chooses_the_form_in_german() -> None:
    forms = "One login has ended.", "%(count)s logins have ended."
    assert german().text(*forms, 1) == "Eine Anmeldung ist beendet."
    assert german().text(plural_sentence(*forms, 3)) == "3 Anmeldungen sind beendet."
    assert ENGLISH.text(*forms, 3) == "%(count)s logins have ended."


def test_a_sentence_is_translated_with_the_sentences_in_it() -> None:
    who = sentence("%(role)s %(subject)s", role=sentence(message("Operator")), subject="<ops>")
    made = sentence("Tested by %(who)s on %(at)s.", who=who, at=moment(AT, date=True))
    shown = german().text(made)
    assert type(shown) is Markup
    assert shown.decode() == f"Getestet von Betreiber &lt;ops&gt; am {TIME}."


def test_a_sentence_without_a_time_is_text_that_the_template_escapes() -> None:
    made = german().text(sentence("Type %(tenant)s to confirm.", tenant="<b>"))
    assert (type(made), made) == (str, "Geben Sie zur Bestätigung <b> ein.")


def test_listed_and_capitalized_texts_are_translated() -> None:
    assert german().text(listed([message("Clock"), message("Scopes")])) == "Uhrzeit, Scopes"
    assert german().text(capitalized(message("not asked lately"))) == "In letzter Zeit nicht kontaktiert"
    assert ENGLISH.text(capitalized(message("not asked lately"))) == "Not asked lately"


def test_a_message_with_tags_escapes_every_value_in_it() -> None:
    made = german().html(german().text("Draft of <bdi>%(name)s</bdi>"), name='<"&')  # type: ignore[arg-type]
    assert made == Markup(b"Entwurf von <bdi>&lt;&quot;&amp;</bdi>")
    inner = german().html("%(a)s", a=Markup(b"<i>"))
    assert inner == Markup(b"<i>")


def test_times_are_in_the_form_of_the_language_with_utc() -> None:
    dated = german().text(moment(AT, date=True))
    assert (type(dated), dated) == (Markup, TIME.encode())
    clock = ENGLISH.text(moment(AT + 7))
    assert clock == b'<time datetime="2025-11-22T14:03:07Z" data-time="second">14:03:07 UTC</time>'


# --- texts that are stored in English


@pytest.mark.parametrize(
    ("text", "german_text"),
    [
        ("the certificate of a.example is accepted", "Das Zertifikat von a.example wird akzeptiert"),
        (
            "https://a.example/ responded with status 404, a redirect to https://b.example/",
            "https://a.example/ antwortete mit Status 404, eine Weiterleitung zu https://b.example/",
        ),
        (
            "the provider refuses the redirect URI https://p.example/cb (it said: no)",
            "Der Anbieter lehnt die Redirect-URI https://p.example/cb (it said: no) ab",
        ),
        ("what nobody wrote", "what nobody wrote"),
        ("", ""),
        ("the certificate of 100 % is accepted", "Das Zertifikat von 100 % wird akzeptiert"),
    ],
)
def test_a_stored_text_is_translated_with_the_texts_in_it(text: str, german_text: str) -> None:
    assert german().stored(text) == german_text
    assert ENGLISH.stored(text) == text


def test_a_stored_text_that_is_too_long_stays() -> None:
    text = f"the certificate of {'x' * LONGEST} is accepted"
    assert german().stored(text) == text


def test_a_language_from_right_to_left_turns_the_page() -> None:
    arabic = Language("ar", Locale("ar"), NullTranslations(), {}, stored={}, problems={})
    template, page, chrome = EVERY["error"]
    source = load_templates().load(template)
    html = source.generate(page=page, chrome=chrome, static_url=static_url, **arabic.namespace).decode()
    assert '<html lang="ar" dir="rtl">' in html
