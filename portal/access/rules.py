"""Rules on claims (the key `access` of a tenant file).

For every comparison: a claim that is missing or has another type does not match, nothing is converted, and
text is compared character by character. So a new comparison must return a mismatch for every value that it
does not explicitly accept; tests/unit/access/ compares all of them with a second implementation.
The time of an evaluation is linear in the claims and the rules, whose number the schema limits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import compress
from typing import cast

from portal.access.path_reading import readable_segments, written_segments
from portal.display_text import display_text
from portal.sentences import Sentence, message, sentence

Claims = Mapping[str, object]
ClaimPath = tuple[str, ...]
"""The names that lead to a claim, from the outermost object inwards; lists are never entered."""
Scalar = str | int | bool
Entries = Mapping[type, Set[Scalar]]

LONGEST_LIST = 5_000
"""Entries; a longer list does not match any rule."""
LONGEST_TEXT = 2_048
"""Characters; longer text does not match `ends_with`. Names and addresses are shorter."""
LARGEST_NUMBER = 1 << 53
"""JSON parsers read larger integers differently (RFC 8259 6); in a list they match no rule."""

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+")
"""An unambiguous e-mail address, without quotes and comments (RFC 5322 3.4.1, dot-atom; RFC 1123 2.1)."""
_PRINTABLE_ASCII = re.compile(r"[\x21-\x7e]+")
_MOST_VALUES_IN_WORDS = 5


class Comparison(StrEnum):
    """The comparison of a rule; the names are the keys of a tenant file."""

    EQUALS = "equals"
    ONE_OF = "one_of"
    CONTAINS = "contains"
    CONTAINS_ANY = "contains_any"
    CONTAINS_ALL = "contains_all"
    ENDS_WITH = "ends_with"
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule on one claim. `verified_by`: path of a claim that must be the boolean true as well."""

    claim: ClaimPath
    comparison: Comparison
    values: tuple[Scalar, ...] = ()
    verified_by: ClaimPath | None = None

    def __str__(self) -> str:
        """The rule in words, for the tenant's administrator."""
        return str(self.in_words())

    def in_words(self) -> Sentence:
        """The rule as a sentence without a full stop."""
        claim = display_text(name_of(self.claim), limit=LONGEST_TEXT)
        values = display_text(_values_in_words(self.values), limit=LONGEST_TEXT)
        text = sentence(_WORDS[self.comparison], claim=claim, values=values)
        if self.verified_by is None:
            return text
        verified = display_text(name_of(self.verified_by), limit=LONGEST_TEXT)
        return sentence("%(rule)s, and %(claim)s must be true", rule=text, claim=verified)


@dataclass(frozen=True, slots=True)
class PathRules:
    """Rules for the paths of an API that begin with `path`, in addition to those for signing in."""

    path: str
    require: tuple[Rule, ...]
    api: str = ""
    """The name of the API; empty for the default API."""
    segments: tuple[str, ...] = field(init=False, repr=False)
    readable: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", written_segments(self.path))
        object.__setattr__(self, "readable", readable_segments(self.path))

    @property
    def place(self) -> str:
        """The path, after the name of its API if it has one."""
        return f"{self.api}: {self.path}" if self.api else self.path


@dataclass(frozen=True, slots=True)
class AccessRules:
    """One `access` of a tenant file. All rules of `require` must be satisfied; none: anyone may sign in."""

    require: tuple[Rule, ...] = ()
    paths: tuple[PathRules, ...] = ()
    contact: str | None = None
    """Whom a refused user should ask, as text."""
    _by_api: Mapping[str, tuple[PathRules, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = dict.fromkeys(one.api for one in self.paths)
        by_api = {name: tuple(one for one in self.paths if one.api == name) for name in names}
        object.__setattr__(self, "_by_api", by_api)

    def paths_of(self, api: str) -> tuple[PathRules, ...]:
        """The path rules for an API. Parameters: api, its name; empty for the default API."""
        return self._by_api.get(api, ())


@dataclass(frozen=True, slots=True)
class Refusal:
    """A rule that is not satisfied: the rule in words, and the kind of value found, never the value."""

    rule: str
    found: str

    def __str__(self) -> str:
        return str(self.in_words())

    def in_words(self) -> Sentence:
        """Both as a sentence without a full stop."""
        return sentence("%(rule)s; found %(found)s", rule=self.rule, found=sentence(self.found))


def sign_in_refusal(access: Iterable[AccessRules], claims: Claims) -> Refusal | None:
    """The first rule for signing in that these claims do not satisfy; None when all are satisfied."""
    rules = [rule for of_provider in access for rule in of_provider.require]
    return first_refusal(rules, claims) if rules else None


class ReadValues:
    """Caches what rules need of lists and texts in claims, for all rules of an evaluation.

    The values must live as long as this object, since they are identified by `id`.
    """

    def __init__(self) -> None:
        self._read: dict[int, Entries] = {}
        self._texts: dict[int, str | None] = {}

    def of(self, value: list[object]) -> Entries:
        """The texts, whole numbers and booleans of a list."""
        if id(value) not in self._read:
            self._read[id(value)] = {
                str: {one for one in value if type(one) is str},
                # a provider could choose thousands of larger numbers with the same hash
                int: {one for one in value if type(one) is int and abs(one) <= LARGEST_NUMBER},
                bool: {one for one in value if type(one) is bool},
            }
        return self._read[id(value)]

    def mismatch_of_text(self, value: str) -> str | None:
        """Why a text cannot match `ends_with`; None when it can."""
        if id(value) not in self._texts:
            self._texts[id(value)] = _mismatch_of_text(value)
        return self._texts[id(value)]


def first_refusal(rules: Iterable[Rule], claims: Claims, entries: ReadValues | None = None) -> Refusal | None:
    """The first of these rules that the claims do not satisfy; None when all are satisfied."""
    return next((refusal for _, refusal in outcomes(rules, claims, entries) if refusal is not None), None)


def outcomes(
    rules: Iterable[Rule], claims: Claims, entries: ReadValues | None = None
) -> Iterator[tuple[Rule, Refusal | None]]:
    """Each rule with its refusal; None when it is satisfied.

    Parameters: entries, the cache of other evaluations of the same claims.
    """
    entries = entries or ReadValues()
    for rule in rules:
        mismatch = _mismatch(rule, claims, entries)
        yield rule, None if mismatch is None else Refusal(rule.in_words(), mismatch)


def claim_at(path: ClaimPath, claims: Claims) -> tuple[bool, object]:
    """Whether there is a claim at a path, and its value."""
    value: object = claims
    for name in path:
        if not isinstance(value, (dict, Mapping)) or name not in value:  # dict first: the check is faster
            return False, None
        value = value[name]
    return True, value


def name_of(path: ClaimPath) -> str:
    """A path to a claim, in the notation of tenant files."""
    plain = all("." not in name and "/" not in name for name in path)
    return ".".join(path) if plain else json.dumps(path, ensure_ascii=False)


def _mismatch(rule: Rule, claims: Claims, entries: ReadValues) -> str | None:
    there, value = claim_at(rule.claim, claims)
    if not there:
        return message("no such claim")
    if rule.comparison in _OF_LISTS:
        mismatch = _contains(value, rule.values, _OF_LISTS[rule.comparison], entries)
    elif rule.comparison is Comparison.ENDS_WITH:
        mismatch = _ends_with(value, cast(Sequence[str], rule.values), entries)
    else:
        mismatch = _CHECKS[rule.comparison](value, rule.values)
    if mismatch is not None or rule.verified_by is None:
        return mismatch
    there, verified = claim_at(rule.verified_by, claims)
    if verified is True:
        return None
    name = display_text(name_of(rule.verified_by), limit=LONGEST_TEXT)
    if not there:
        return sentence("%(claim)s is missing", claim=name)
    return sentence("%(claim)s is %(kind)s", claim=name, kind=sentence(_kind(verified)))


def _is_one_of(value: object, expected: Sequence[Scalar]) -> str | None:
    # True == 1 in Python
    if any(type(value) is type(one) and value == one for one in expected):
        return None
    same_type = any(type(value) is type(one) for one in expected)
    return _OTHERS[type(value)] if same_type and type(value) in _OTHERS else _kind(value)


def _contains(
    value: object,
    expected: Sequence[Scalar],
    enough: Callable[[Iterable[bool]], bool],
    entries: ReadValues,
) -> str | None:
    if not isinstance(value, list):
        return sentence("%(kind)s, not a list", kind=sentence(_kind(value)))
    if len(value) > LONGEST_LIST:
        return sentence("a list of more than %(most)s entries", most=LONGEST_LIST)
    found = entries.of(value)
    if enough(one in found[type(one)] for one in expected):
        return None
    if len(expected) == 1:
        return sentence("a list of %(count)s without it", count=len(value))
    return sentence("a list of %(count)s without them", count=len(value))


def _ends_with(value: object, expected: Sequence[str], entries: ReadValues) -> str | None:
    if not isinstance(value, str):
        return _kind(value)
    mismatch = entries.mismatch_of_text(value)
    if mismatch is not None:
        return mismatch
    ends = compress(expected, map(value.endswith, expected))
    return None if any(_is_after_more(value, end) for end in ends) else message("text that ends otherwise")


def _mismatch_of_text(value: str) -> str | None:
    if len(value) > LONGEST_TEXT:
        return sentence("text of more than %(most)s characters", most=LONGEST_TEXT)
    if not _PRINTABLE_ASCII.fullmatch(value):
        return message("text with characters other than printable ASCII")
    if "@" in value and not _ADDRESS.fullmatch(value):
        return message("text that is not a plain e-mail address")
    return None


def _is_after_more(value: str, end: str) -> bool:
    """Whether the text before the ending is more than a separator."""
    begin = len(value) - len(end)
    return begin > 0 if end[0] == "@" else value[begin - 1 : begin].isalnum()


def _is_present(value: object, expected: Sequence[Scalar]) -> str | None:
    empty = value is None or value is False or (isinstance(value, str | list | Mapping) and not value)
    return _kind(value) if empty else None


def _kind(value: object) -> str:
    """The kind of a value in words; the value itself may be personal data."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str | list | Mapping) and not value:
        return next((text for kind, text in _EMPTY.items() if isinstance(value, kind)), _EMPTY[dict])
    return _KINDS.get(type(value), _KINDS[dict])


def _values_in_words(values: Sequence[Scalar]) -> str:
    text = ", ".join(json.dumps(one, ensure_ascii=False)[:100] for one in values[:_MOST_VALUES_IN_WORDS])
    left = len(values) - _MOST_VALUES_IN_WORDS
    return f"{text} and {left} more" if left > 0 else text


_KINDS = {
    str: message("text"),
    int: message("a number"),
    float: message("a number"),
    bool: message("a boolean"),
    list: message("a list"),
    dict: message("an object"),
}
_OTHERS = {
    str: message("another text"),
    int: message("another number"),
    float: message("another number"),
    bool: message("another boolean"),
    list: message("another list"),
    dict: message("another object"),
}
_EMPTY = {str: message("empty text"), list: message("empty list"), dict: message("empty object")}
_WORDS = {
    Comparison.EQUALS: message("%(claim)s must be %(values)s"),
    Comparison.ONE_OF: message("%(claim)s must be one of %(values)s"),
    Comparison.CONTAINS: message("%(claim)s must be a list with %(values)s"),
    Comparison.CONTAINS_ANY: message("%(claim)s must be a list with one of %(values)s"),
    Comparison.CONTAINS_ALL: message("%(claim)s must be a list with all of %(values)s"),
    Comparison.ENDS_WITH: message("%(claim)s must end with %(values)s"),
    Comparison.PRESENT: message("%(claim)s must be present"),
}
_CHECKS: Mapping[Comparison, Callable[[object, Sequence[Scalar]], str | None]] = {
    Comparison.EQUALS: _is_one_of,
    Comparison.ONE_OF: _is_one_of,
    Comparison.PRESENT: _is_present,
}
_OF_LISTS: Mapping[Comparison, Callable[[Iterable[bool]], bool]] = {
    Comparison.CONTAINS: any,
    Comparison.CONTAINS_ANY: any,
    Comparison.CONTAINS_ALL: all,
}
