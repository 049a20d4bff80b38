"""Every text of the pages is in the catalogues, and every translation fits its message."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Message

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "words.py"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


@pytest.mark.reads_source
def test_every_text_is_translated(script: dict[str, Any]) -> None:
    assert list(script["checked"]()) == [], "run: python scripts/words.py update, and translate"


@pytest.mark.reads_source
def test_the_catalogues_are_as_the_script_writes_them(script: dict[str, Any]) -> None:
    for path in script["CATALOGUES"].glob("*.po"):
        assert script["updated"](path) == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("<p>{{ _('Yes') }} {{ page.name }}</p>", []),
        ("<p>Forgotten</p>", ["Forgotten"]),
        ("<p>{% if x > 1 %}One of <b>two</b>{% end %}</p>", ["One of", "two"]),
        ('<a aria-label="Close" href="/x" class="good">×</a>', ["Close"]),
        ("{# A comment. #}<p>– 1 %</p>", []),
        ("{% block width %}wide{% end %}", []),
    ],
)
def test_text_outside_of_messages_is_found(script: dict[str, Any], source: str, found: list[str]) -> None:
    assert script["bare_text"](source) == found


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("{{ html(_('<b>x</b>')) }}", 0),
        ("{{ html(_('a', 'b', n), n=n) }}", 0),
        ("{{ html(page.name) }}", 1),
        ("{{ html(_(page.name)) }}", 1),
        ("{{ html('<b>' + name) }}", 1),
    ],
)
def test_html_takes_messages_only(script: dict[str, Any], source: str, wrong: int) -> None:
    assert len(script["html_of_values"](source)) == wrong


@pytest.mark.parametrize(
    ("english", "translation", "problem"),
    [
        ("Sign in", "Anmelden", None),
        ("Sign in", "", "is not translated"),
        ("%(name)s failed", "%(name)s ist fehlgeschlagen", None),
        ("%(name)s failed", "%(nmae)s ist fehlgeschlagen", "other placeholders"),
        ("%(name)s failed", "Fehlgeschlagen", "other placeholders"),
        ("<b>No</b>", "<b>Nein</b>", None),
        ("<b>No</b>", "Nein", "other tags"),
        ("At {callback_url}", "Bei {callbackurl}", "other URLs"),
        (("One", "%(count)s"), ("Eine", "%(count)s"), None),
        (("One", "%(count)s"), ("Eine",), "is not translated"),
        ("%(name)s", "%(name)s zu 100 %", "% that is no placeholder"),
    ],
)
def test_a_translation_that_does_not_fit_is_found(
    script: dict[str, Any], english: Any, translation: Any, problem: str | None
) -> None:
    problems_of: Callable[[Message], Any] = script["problems_of"]
    found = list(problems_of(Message(english, translation)))
    assert (problem in found[0]) if problem else not found


def test_a_fuzzy_translation_is_found(script: dict[str, Any]) -> None:
    assert list(script["problems_of"](Message("No", "Nein", flags=["fuzzy"]))) == ["'No' is fuzzy"]


def test_a_translation_that_was_put_away_is_used_when_its_message_returns(
    script: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "de.po"
    path.write_text(
        'msgid ""\nmsgstr ""\n\n#~ msgid "Sign in"\n#~ msgstr "Anmelden"\n\nmsgid "Gone"\nmsgstr "Weg"\n'
    )
    made = script["updated"](path)
    assert 'msgid "Sign in"\nmsgstr "Anmelden"\n' in made
    assert '#~ msgid "Gone"\n#~ msgstr "Weg"\n' in made
