"""The values that forms of a draft ask for: what a content has for them, and what was typed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from portal.admin.editing import Keys
from portal.admin.problem_words import in_words, states_no_access
from portal.admin.provider_entries import issuer_of
from portal.errors import Problem
from portal.sentences import message, sentence
from portal.tenancy.presets.templates import value_at

LONGEST = 500
LONGEST_SECRET = 4_000
LONGEST_PEM = 20_000
_IN_FORMS: Mapping[str, str] = {
    "write ${NAME} or file:/path, or auth: none for a public client": (
        "type it, or choose under More settings that the client is public"
    ),
    "write file:/path": "paste it",
}
"""Advice that is for tenant files, and what to do in a form instead."""
_LACKS = re.compile(r' lacks (?:the key "(\w+)"|"(domain|issuer)"|the )')


@dataclass(frozen=True, slots=True)
class Asked:
    """A value that a form asks for."""

    name: str
    """Of the field in the form."""
    label: str
    key: Keys
    """Where the value is: within a provider, or within the tenant if `of_tenant`."""
    help: str = ""
    example: str = ""
    required: bool = False
    """Whether the value may be left out: browsers then ask for it."""
    optional: bool = True
    """Whether the page says that it may be left out."""
    secret: bool = False
    lines: bool = False
    more: bool = False
    """Whether few need it: it is folded away."""
    listed: bool = False
    """Whether it is a list, typed with spaces between its values, or one a line."""
    by_line: bool = False
    """Whether each line of a list is one value, which may have spaces and commas."""
    truth: bool = False
    """Whether it is a truth value; `choices` are "", true and false then."""
    choices: tuple[tuple[str, str], ...] = ()
    """Values and their labels."""
    of_tenant: bool = False
    or_access: bool = False
    """Whether it is needed unless the tenant has access rules: anyone can have an account there."""
    makes_issuer: bool = False
    """Whether the host name that is typed here is the issuer's: a URL with a path is an issuer of its own."""

    @property
    def longest(self) -> int:
        """Characters that may be typed."""
        return LONGEST_PEM if self.lines else LONGEST_SECRET if self.secret or self.listed else LONGEST


@dataclass(frozen=True, slots=True)
class Values:
    """The values that a content has for the fields of a form, by name."""

    texts: Mapping[str, str]
    set_secrets: frozenset[str]
    unusual: frozenset[str]
    """Fields whose value no form can show, such as a list of rules: they are left alone."""


@dataclass(frozen=True, slots=True)
class Sorted:
    """Problems of a content: beside the fields of a form, by name; of the same provider; and of the rest."""

    beside: Mapping[str, str] = field(default_factory=dict)
    here: tuple[str, ...] = ()
    elsewhere: int = 0


def current_values(root: Mapping[str, object], at: Keys, fields: Sequence[Asked]) -> Values:
    """Return the values that a content has for the fields. Parameters: at, the keys of the provider."""
    texts: dict[str, str] = {}
    secrets: set[str] = set()
    unusual: set[str] = set()
    for one in fields:
        value = value_at(root, keys_of(one, at))
        text = _as_text(one, value)
        if one.secret:
            secrets.update([one.name] if value is not None else ())
        elif text is None:
            unusual.add(one.name)
        texts[one.name] = "" if one.secret else text or ""
    return Values(texts, frozenset(secrets), frozenset(unusual))


def _as_text(one: Asked, value: object) -> str | None:
    """A value as somebody would type it; None if that is not possible."""
    if value is None:
        return ""
    if one.listed:
        is_plain = isinstance(value, list) and all(isinstance(item, str) for item in value)
        between = "\n" if one.lines else " "
        return between.join(value) if is_plain else None  # type: ignore[arg-type]
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value) if isinstance(value, str | int | float) else None
    return None if text is not None and one.choices and text not in dict(one.choices) else text


def keys_of(one: Asked, at: Keys) -> Keys:
    """Return the keys of a field's value in a content. Parameters: at, those of the provider."""
    return one.key if one.of_tenant else (*at, *one.key)


def changes(
    fields: Sequence[Asked], typed: Mapping[str, str], now: Values, at: Keys
) -> tuple[dict[Keys, object], tuple[str, ...]]:
    """Return the changes that were typed, and the names of fields where only a part of it is used.

    Parameters: typed, by the name of the field; now, the values of the content; at, the keys of the provider.
    A secret that was not typed stays.
    """
    made: dict[Keys, object] = {}
    cut: list[str] = []
    for one in fields:
        text = _corrected(one, typed[one.name])
        if one.name in now.unusual or (one.secret and not text):
            continue
        cut += [one.name] if text != typed[one.name] else []
        if one.secret or text != now.texts[one.name]:
            made[keys_of(one, at)] = _typed_value(one, text)
    made |= _issuer_changes(fields, typed, now, at)
    return made, tuple(cut)


def _typed_value(one: Asked, text: str) -> object:
    """The value that a text stands for; None: none."""
    if not text:
        return None
    if one.listed:
        return _listed(one, text) or None
    return text == "true" if one.truth else text


def _issuer_changes(
    fields: Sequence[Asked], typed: Mapping[str, str], now: Values, at: Keys
) -> dict[Keys, object]:
    """The changes when an issuer with a path was typed where its host name alone is asked for.

    The path selects another authorization server (of Okta, for example), so it must not be cut off.
    """
    domain = next((one for one in fields if one.makes_issuer), None)
    issuer = next((one for one in fields if one.key == ("issuer",)), None)
    if domain is None or issuer is None or typed[issuer.name] != now.texts[issuer.name]:
        return {}
    url, _ = issuer_of(typed[domain.name])
    if not re.fullmatch(r"https?://[^/]+/[^/].*", url):
        return {}
    return {keys_of(domain, at): None, keys_of(issuer, at): url}


def _listed(one: Asked, text: str) -> list[str]:
    """The values of a list that was typed; `@example.com` is what some type for an e-mail domain."""
    if one.by_line:
        return [line.strip() for line in text.split("\n") if line.strip()]
    if not one.lines:
        return text.split()
    found = [item for item in re.split(r"[\s,;]+", text) if item]
    return [item.removeprefix("@") for item in found] if one.key == ("email_domains",) else found


def _corrected(one: Asked, text: str) -> str:
    """What was meant by what is often pasted: the URL of metadata, or a URL in place of a host name."""
    if one.key == ("issuer",):
        issuer, cut = issuer_of(text)
        return f"{issuer}/" if cut and one.example.endswith("/") else issuer
    url = re.fullmatch(r"https?://([^/]+)(/.*)?", text) if one.key == ("domain",) else None
    return text if url is None else url[1]


def note_on(one: Asked, now: Values) -> str:
    """The note on a field where only a part of what was pasted is used, or another field has it now."""
    if one.makes_issuer and not now.texts[one.name]:
        return sentence(
            "%(label)s: that was a URL with a path, so it is now the Issuer, under More settings.",
            label=sentence(one.label),
        )
    if one.key == ("issuer",):
        return sentence(
            "%(label)s: that was the URL of the metadata. The issuer is the part before /.well-known.",
            label=sentence(one.label),
        )
    return sentence("%(label)s: that was a URL. Only its host name is needed.", label=sentence(one.label))


def sort_problems(
    problems: Sequence[Problem], fields: Sequence[Asked], at: Keys, *, other_providers: bool
) -> Sorted:
    """Sort problems of a content by the field that they are about.

    Parameters: at, the keys of the provider; other_providers, whether the content has further providers.
    """
    beside: dict[str, str] = {}
    here: list[str] = []
    elsewhere = 0
    for problem in problems:
        keys, about = problem.keys, _about(problem, fields, at)
        if about is not None and about.name not in beside:
            beside[about.name] = _with_label(problem.message, about)
        elif not other_providers or (keys is not None and keys[: len(at)] == at):
            here.append(in_words(problem.message))
        else:
            elsewhere += 1
    return Sorted(beside, tuple(here), elsewhere)


def _with_label(text: str, about: Asked) -> str:
    """A text for who sees a form: the label of the field in place of its keys, and no advice on files."""
    if about.or_access and text.startswith("access "):
        return message(
            "Needed, unless you state in General settings who may sign in: anyone can have such an account"
        )
    if _LACKS.search(text):
        return sentence("%(label)s is missing", label=sentence(about.label))
    for on_files, here in _IN_FORMS.items():
        text = text.replace(on_files, here)
    text = in_words(text.removeprefix("providers.<name>."))
    if text.startswith("looks like "):
        return f"{about.label} {text}"
    key = re.compile(
        rf"^(?:apis\.<name>\.|api\.|links\[\d+\]\.)?{re.escape('.'.join(about.key))}(?:\[(\d+)\])? "
    )
    return key.sub(lambda found: f"{about.label}{f' {found[1]}' if found[1] else ''} ", text, count=1)


def _about(problem: Problem, fields: Sequence[Asked], at: Keys) -> Asked | None:
    """The field whose value a problem is about, or the first that belongs to what it is about."""
    keys = problem.keys
    if states_no_access(problem):
        return next((one for one in fields if one.or_access), None)
    if keys is None:
        return None
    exact = next((one for one in fields if keys[: len(found := keys_of(one, at))] == found), None)
    inside = len(keys) > len(at)
    parts = [one for one in fields if inside and keys_of(one, at)[: len(keys)] == keys]
    named = next((one for one in parts if f" {one.name} " in problem.message), None)
    return exact or named or next(iter(parts), None) or _lacking(problem, fields, at)


def _lacking(problem: Problem, fields: Sequence[Asked], at: Keys) -> Asked | None:
    """The field that a problem of a whole provider misses."""
    lacks = _LACKS.search(problem.message) if problem.keys == at else None
    if lacks is None:
        return None
    labelled = (one for one in fields if problem.message[lacks.end() :].startswith(one.label))
    return next(labelled, None) or next((one for one in fields if one.key == (lacks[1] or lacks[2],)), None)
