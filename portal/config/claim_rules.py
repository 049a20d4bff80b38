"""Rules on claims in files: in the access rules and admins of a tenant, and the operators of the portal."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any, cast

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from portal.access.accounts import AccountRule
from portal.access.rules import LARGEST_NUMBER, ClaimPath, Comparison, Rule, Scalar
from portal.config.field_types import Slug, expected, refused
from portal.config.validation import FileModel

MAX_VALUES = 100
MAX_ACCOUNTS = 50
"""Rules of a list of accounts: each page of the portal may evaluate all of them."""
_MAX_DEPTH = 10
_MAX_LENGTH = 500
_DOTTED = re.compile(r"[A-Za-z0-9_:-]+(?:\.[A-Za-z0-9_:-]+)*")
_ENDING = re.compile(r"[@./][\x21-\x3f\x41-\x7e]+")
_TOKEN_CLAIMS = frozenset(("sid", "nonce", "jti", "iat", "exp", "nbf", "at_hash", "c_hash", "s_hash"))
"""Claims that describe a token, not the user; their values differ in each new token."""


def _is_line(value: object) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= _MAX_LENGTH
        and not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in value)
    )


def _claim_path(value: object) -> ClaimPath:
    if isinstance(value, str):
        if not _DOTTED.fullmatch(value) or len(value) > _MAX_LENGTH:
            raise expected(
                "the name of a claim, with dots between the names of nested objects; write a name that "
                'contains dots or slashes as a list, such as ["https://acme.example/roles"]'
            )
        path = tuple(value.split("."))
    elif isinstance(value, list) and all(map(_is_line, value)):
        path = tuple(cast(list[str], value))
    else:
        raise expected("the name of a claim, or a list of names that form a path to it")
    if not 1 <= len(path) <= _MAX_DEPTH:
        raise expected(f"a path of 1 to {_MAX_DEPTH} names")
    if path[0] in _TOKEN_CLAIMS:
        raise refused("describes a token, not a user; choose another claim")
    return path


def _scalar(value: object) -> Scalar:
    # Not trimmed: the comparison uses exactly what the file contains.
    if (
        _is_line(value)
        or isinstance(value, bool)
        or (isinstance(value, int) and abs(value) <= LARGEST_NUMBER)
    ):
        return cast(Scalar, value)
    raise expected(f"text of 1 to {_MAX_LENGTH} visible characters, a whole number, true or false")


def _endings(value: object) -> tuple[str, ...]:
    endings = value if isinstance(value, list) else [value]
    if not 1 <= len(endings) <= MAX_VALUES:
        raise expected(f"an ending, or a list of 1 to {MAX_VALUES}")
    for one in endings:
        if not isinstance(one, str):
            raise expected('text that begins with @, . or /, such as "@acme.example", or a list of them')
        if not one.isascii():
            raise refused("contains non-ASCII characters; write the domain in its ASCII form (xn--…)")
        if not one.startswith(("@", ".", "/")):
            raise refused(
                'must begin with @, . or /, such as "@acme.example"; otherwise addresses in other '
                "domains could match"
            )
        if not _ENDING.fullmatch(one) or len(one) > _MAX_LENGTH:
            raise refused(
                "must be @, . or /, followed by printable ASCII characters without spaces or another @"
            )
    return tuple(cast(list[str], endings))


def _true(value: object) -> bool:
    if value is not True:
        raise expected("true; a rule cannot require that a claim is absent")
    return True


def _scalars_schema() -> dict[str, Any]:
    return {"title": "text, number, true or false", "type": ["string", "integer", "boolean"]}


ClaimName = Annotated[
    tuple[str, ...],
    PlainValidator(_claim_path),
    WithJsonSchema(
        {
            "title": "text, or list of text",
            "anyOf": [
                {"type": "string", "pattern": f"^{_DOTTED.pattern}$"},
                {"type": "array", "minItems": 1, "maxItems": _MAX_DEPTH, "items": {"type": "string"}},
            ],
        }
    ),
]
Value = Annotated[Scalar, PlainValidator(_scalar), WithJsonSchema(_scalars_schema())]
Endings = Annotated[
    tuple[str, ...],
    PlainValidator(_endings),
    WithJsonSchema(
        {
            "title": "text, or list of text",
            "anyOf": [
                {"type": "string", "pattern": "^[@./]."},
                {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MAX_VALUES,
                    "items": {"type": "string", "pattern": "^[@./]."},
                },
            ],
        }
    ),
]
Yes = Annotated[bool, PlainValidator(_true), WithJsonSchema({"title": "true", "const": True})]


class RuleFile(FileModel):
    """One comparison of one claim. It is never true if the claim is missing or has another type."""

    claim: ClaimName = Field(
        description=(
            "The claim. Dots select members of nested objects (realm_access.roles); a list is an exact path, "
            "for names that contain dots or slashes."
        ),
        examples=["email", ["https://acme.example/roles"]],
    )
    equals: Value | None = Field(default=None, description="The claim equals this value.")
    one_of: list[Value] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_VALUES,
        description="The claim equals one of these values.",
    )
    contains: Value | None = Field(default=None, description="The claim is a list that contains this value.")
    contains_any: list[Value] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_VALUES,
        description="The claim is a list that contains at least one of these values.",
    )
    contains_all: list[Value] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_VALUES,
        description="The claim is a list that contains all of these values.",
    )
    ends_with: Endings | None = Field(
        default=None,
        description=(
            "The claim is text that ends with this ending, or with one of these; each begins with @, . or /. "
            "The comparison is case-sensitive, and an address must be ASCII with exactly one @."
        ),
        examples=["@acme.example"],
    )
    present: Yes | None = Field(
        default=None, description="The claim is present, and is not null, false or empty."
    )
    verified_by: ClaimName | None = Field(
        default=None,
        description="Another claim that must be true as well: the boolean, not the text.",
        examples=["email_verified"],
    )

    @model_validator(mode="after")
    def _check_comparison(self) -> RuleFile:
        given = self._comparisons()
        if not given:
            raise refused(f"lacks a comparison: one of {', '.join(Comparison)}")
        if len(given) > 1:
            raise refused(f"combines {' and '.join(given)}; write one rule for each", key=given[1])
        if self.verified_by == self.claim:
            raise refused(
                "names the compared claim itself; name another, such as email_verified", key="verified_by"
            )
        return self

    def _comparisons(self) -> list[Comparison]:
        return [one for one in Comparison if getattr(self, one) is not None]

    def rule(self) -> Rule:
        """Return the rule that sign-in evaluates."""
        (comparison,) = self._comparisons()
        value = getattr(self, comparison)
        values = tuple(value) if isinstance(value, list | tuple) else (value,)
        if comparison is Comparison.PRESENT:
            values = ()
        return Rule(self.claim, comparison, values, self.verified_by)


class AccountFile(RuleFile):
    """Accounts with more rights: those of a provider whose claims meet a rule."""

    provider: Slug | None = Field(
        default=None,
        description="Only accounts of this provider, by its name under providers. Default: of any of them.",
    )

    def account_rule(self) -> AccountRule:
        """Return the rule that the console evaluates."""
        return AccountRule(self.rule(), self.provider)


class OperatorFile(AccountFile):
    """Accounts of operators: users who are signed in at a tenant, and whose claims meet a rule."""

    tenant: Slug = Field(
        description="The tenant at which they sign in, by its slug; it must have a tenant file.",
        examples=["acme"],
    )
