"""Problems of a tenant's content for who fills in forms: without what concerns files and YAML only."""

from __future__ import annotations

import re

from portal.errors import Problem
from portal.sentences import Wording

_MISSING_KEY = re.compile(r'(?:this file|this provider|[a-z_.<>]{1,80}) lacks the key "(\w{1,60})"')
_PUBLIC = re.compile(
    r"access is missing, but anyone can create an account at (.{1,200}?)\. State who may sign in: "
)
_FOUND = re.compile(r", found (?:text|an empty value|a number|a list|a mapping|a truth value)$")
_IN_FORMS = (
    (re.compile(r"must be an https URL \(http only to localhost[^()]{0,100}\)"), "must begin with https://"),
    (
        re.compile(r'must be a colour such as "(#\w{6})" \(in quotes: # begins a comment\)'),
        r"must be like \1",
    ),
    (re.compile(r"^fields has a \w{1,60} that is not one; expected a value such as "), "looks like "),
)
"""What is said about files, and what to say in a form instead."""


def in_words(message: str) -> str:
    """Return the message of a problem for a form."""
    public = _PUBLIC.match(message)
    if public:
        return f"Anyone can have an account at {public[1]}: state in General settings who may sign in"
    missing = _MISSING_KEY.match(message)
    if missing:
        return f"“{_name_of(missing[1])}” is missing{message[missing.end() :]}"
    for found, instead in _IN_FORMS:
        message = found.sub(instead, message)
    return _FOUND.sub("", message)


def states_no_access(problem: Problem) -> bool:
    """Whether the problem is that a content must state who may sign in."""
    return _PUBLIC.match(problem.message) is not None


def for_people(problem: Problem) -> str:
    """Return a problem as a sentence, with the provider that it is about by its short name."""
    keys = problem.keys or ()
    several = len(keys) > 1 and keys[0] == "providers"
    message = problem.message.removeprefix("providers.<name>.")
    text = in_words(message.replace("providers.<name>", "this provider"))
    text = f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?')) else '.'}"
    return Wording(f"{keys[1]}: {text}" if several else text)


def _name_of(key: str) -> str:
    return key.replace("_", " ")
