"""Problems of tenant files, warnings and notices in German: each message is found again in what is shown."""

from __future__ import annotations

import functools
import json
import re
import string
import time
from pathlib import Path

import pytest
import yaml
from babel.messages.pofile import read_po

from portal.access.rules import Comparison, Rule, first_refusal
from portal.admin.problem_words import for_people, in_words
from portal.errors import ConfigurationError, Problem
from portal.sentences import Wording
from portal.tenancy.loading import read_stored_tenant
from portal.web.languages import Language, load_languages
from portal.web.languages.languages import LOCALES, PROBLEM

GERMAN: Language = load_languages().all[1]
ENGLISH_WORDS = re.compile(
    r"(?<![\w.:/-])(?:the|is|has|be|must|with|which|without|found|and|needs|expected|this|cannot|that|write|its)(?![\w:/-])"
)
"""Words of English sentences that are no German words, keys or values."""


@functools.cache
def messages() -> dict[str, str]:
    with (LOCALES / "de.po").open("rb") as file:
        catalog = read_po(file, locale="de")
    return {str(one.id): str(one.string) for one in catalog if one.id and one.context == PROBLEM}


def filled(pattern: str) -> str:
    """A text with a value in each place that is no message, such as `xa`."""
    return re.sub(r"%\((\w+)\)s", lambda one: f"x{one[1]}", pattern)


def german(text: str) -> str:
    return str(GERMAN.text(Wording(text)))


PREDICATE = re.compile(
    r"(?:is|has|had|must|needs|lacks|names|cannot|still|would|was|requests|lists|conflicts)\b"
)


@pytest.mark.parametrize("text", messages())
def test_a_message_is_found_in_a_text_that_is_made_of_it(text: str) -> None:
    expected = filled(messages()[text])
    assert german(filled(text)) == expected
    if PREDICATE.match(text):
        assert german(f"client.secret {filled(text)}") == f"client.secret {expected}"
        assert german(f"Client secret {filled(text)}.") == f"Client-Secret {expected}."
        assert german(f"acme:3:1: client.auth {filled(text)}") == f"acme:3:1: client.auth {expected}"


VALID = """\
name: Acme
issuer: https://login.acme.example
client: {id: portal, secret: a-secret-that-is-long-enough-for-all}
api: {base_url: https://api.acme.example}
access: {require: [{claim: email, ends_with: "@acme.example"}]}
hosts: [portal.acme.example]
"""
VALUES: tuple[object, ...] = (
    None,
    7,
    -1,
    True,
    "",
    "x y",
    [],
    [7],
    {},
    {"nonsense": 1},
    "http://a b",
    "x" * 600,
)
TEXTS = (
    "",
    "- a\n",
    "a: b: c\n",
    "a:b\nc: d\n",
    "a: [1\n",
    "a: 'x\n",
    'a: "x" y\n',
    "a: &x 1\n",
    "a: *x\n",
    "a: !!str x\n",
    "a: 1\na: 2\n",
    "\ta: 1\n",
    "a: 1\n---\nb: 2\n",
    "a: @x\n",
    "a:\n   b: 1\n  c: 2\n",
    "nmae: x\n",
    VALID.replace("issuer", "isuer"),
    VALID.replace("client: {id: portal, ", "client: {"),
    VALID + "preset: google\ndomain: x\n",
    VALID + "preset: okta\n",
    VALID + "home_url: /t/acme/api/\n",
    VALID + "authorize_params: {prompt: x, state: y}\n",
    VALID + "scopes: [email]\n",
    VALID + "prompt: login\n",
    VALID + "redirect_uri: x\n",
    VALID + "apis: {x: {base_url: https://a.example, audience: a, resource: https://b.example}}\n",
    VALID + "front_end: {directory: x}\n",
    VALID + "discovery: false\n",
    VALID + "userinfo_algs: [RS256]\n",
    VALID + "tenant_ids: [x]\n",
    "name: A\nissuer: https://accounts.google.com\nclient: {id: x, secret: y}\n",
)


def _problems(text: str) -> list[Problem]:
    try:
        loaded = read_stored_tenant("acme", text, open_sealed=lambda sealed: sealed)
    except ConfigurationError as error:
        return error.problems
    return [*loaded.warnings, *loaded.hints]


def changed_files() -> list[str]:
    """Files in which one key at a time has a value of another kind, or is missing."""
    found = list(TEXTS)
    for key in (
        *yaml.safe_load(VALID),
        "providers",
        "branding",
        "links",
        "session",
        "admins",
        "tls",
        "claims",
    ):
        for value in VALUES:
            found.append(yaml.safe_dump({**yaml.safe_load(VALID), key: value}))
    for holder in ("client", "api", "access"):
        for key in (
            "id",
            "secret",
            "auth",
            "base_url",
            "timeout",
            "require",
            "token",
            "headers",
            "private_key",
        ):
            for value in VALUES:
                document = yaml.safe_load(VALID)
                document[holder][key] = value
                found.append(yaml.safe_dump(document))
    return found


def test_every_problem_of_wrong_files_is_german() -> None:
    seen, english = set(), []
    for text in changed_files():
        for problem in _problems(text):
            for shown in (problem.message, in_words(problem.message), for_people(problem)):
                seen.add(shown)
                found = str(GERMAN.text(Wording(shown)))
                if ENGLISH_WORDS.search(re.sub(r'"[^"]*"|„[^“]*“', "", found)):
                    english.append((shown, found))
    assert len(seen) > 150
    assert not english, english[:5]


@pytest.mark.parametrize("comparison", Comparison)
@pytest.mark.parametrize(
    "value", ["x", "", 7, True, None, [], ["x"], {}, {"a": 1}, "x" * 3_000, ["x"] * 5_001, "é"]
)
def test_every_refusal_of_a_rule_is_german(comparison: Comparison, value: object) -> None:
    values = () if comparison is Comparison.PRESENT else ("@acme.example", "b")
    rule = Rule(("claim",), comparison, values, ("checked",))
    for claims in ({"claim": value}, {}, {"claim": ["@acme.example", "b"]}, {"claim": "a@acme.example"}):
        refusal = first_refusal([rule], claims)
        if refusal is not None:
            text = str(GERMAN.text(refusal.in_words()))
            assert not ENGLISH_WORDS.search(text), text


def test_a_text_is_translated_in_linear_time() -> None:
    started = time.process_time()
    for text in ("x " * 999, 'must be "' * 200, "is refused: " * 150, string.printable * 19):
        german(text)
        german(f"key {text}"[:2_000])
    assert time.process_time() - started < 1.0


def test_no_line_of_a_german_page_ends_after_the_e_of_an_email() -> None:
    assert "E-Mail" not in (Path(LOCALES) / "de.po").read_text(encoding="utf-8")


def test_a_text_without_messages_stays() -> None:
    for text in ("", "etwas", json.dumps({"a": 1}), "Acme Corporation (x)"):
        assert german(text) == text
