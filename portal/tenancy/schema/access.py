"""Keys of a tenant file for access rules."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any, cast

from pydantic import (
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)
from pydantic import ValidatorFunctionWrapHandler as Handler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from portal.access.path_reading import readable_segments
from portal.access.rules import (
    LARGEST_NUMBER,
    AccessRules,
    ClaimPath,
    Comparison,
    PathRules,
    Rule,
    Scalar,
)
from portal.config.field_types import EmailDomain, Text, expected, refused
from portal.config.validation import FileModel

ANYONE = "anyone"
MAX_RULES = 20
MAX_PATHS = 50
MAX_PATH_RULES = 200
"""Rules of all paths together: a path with an unusual spelling may need many of them to be evaluated."""
MAX_VALUES = 100
_MAX_DEPTH = 10
_MAX_LENGTH = 500
_DOTTED = re.compile(r"[A-Za-z0-9_:-]+(?:\.[A-Za-z0-9_:-]+)*")
_ENDING = re.compile(r"[@./][\x21-\x3f\x41-\x7e]+")
_RULE_PATH = re.compile(r"/|(?:/[A-Za-z0-9_~-](?:[A-Za-z0-9._~-]*[A-Za-z0-9_~-])?)+/?")
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


def _rule_path(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MAX_LENGTH or not _RULE_PATH.fullmatch(value):
        raise expected(
            "a path of the API that begins with /, such as /admin/: letters, digits and - . _ ~ between "
            "slashes, without percent-encoding and placeholders"
        )
    return value


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
RulePath = Annotated[
    str,
    PlainValidator(_rule_path),
    WithJsonSchema({"title": "path", "type": "string", "pattern": f"^(?:{_RULE_PATH.pattern})$"}),
]


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


class PathRulesFile(FileModel):
    """Additional rules for calls to a part of the API."""

    path: RulePath = Field(
        description="A path relative to api.base_url; the rules apply to it and all paths below it.",
        examples=["/admin/"],
    )
    require: list[RuleFile] = Field(
        min_length=1, max_length=MAX_RULES, description="Rules that must all be met."
    )


class AccessFile(FileModel):
    """Who may sign in with an account at the provider: `anyone`, or users whose claims meet rules."""

    require: list[RuleFile] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_RULES,
        description="Rules that every user who signs in must meet. Default: anyone may sign in.",
    )
    paths: list[PathRulesFile] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_PATHS,
        description=(
            "Additional rules for parts of the API; the longest matching path applies. The API itself must "
            "still decide what a user may do."
        ),
    )
    contact: Text | None = Field(
        default=None,
        description="Whom a user who is refused can ask; shown on the page that reports the refusal.",
        examples=["IT service desk, help@acme.example"],
    )

    @model_validator(mode="after")
    def _check_contents(self) -> AccessFile:
        if not self.model_fields_set:
            raise refused("is empty; add require, or write access: anyone")
        paths = [readable_segments(one.path) for one in self.paths or ()]
        if len(set(paths)) < len(paths):
            raise refused("lists the same path twice; case does not matter here", key="paths")
        rules = sum(len(one.require) for one in self.paths or ())
        if rules > MAX_PATH_RULES:
            raise refused(f"has {rules} rules in total; at most {MAX_PATH_RULES} are allowed", key="paths")
        return self

    @property
    def states_who_may_sign_in(self) -> bool:
        """Whether this states who may sign in, by rules or by `anyone`."""
        return self.require is not None or not self.model_fields_set

    def rules(self) -> AccessRules:
        """Return the rules that sign-in and API calls evaluate."""
        return AccessRules(
            require=tuple(one.rule() for one in self.require or ()),
            paths=tuple(
                PathRules(one.path, tuple(rule.rule() for rule in one.require)) for one in self.paths or ()
            ),
            contact=self.contact,
        )


class _OrAnyone:
    """Accepts the text `anyone` as a mapping without rules."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(self._read, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"title": "`anyone`, or a mapping", "anyOf": [{"const": ANYONE}, handler(schema)]}

    @staticmethod
    def _read(value: object, handler: Handler) -> object:
        if isinstance(value, str):
            if value == ANYONE:
                return AccessFile.model_construct()
            raise expected("anyone, or a mapping with require")
        return handler(value)


def check_contact(access: AccessFile | None) -> None:
    """Refuse an `access` with a contact but without rules: it never refuses anyone."""
    if access is not None and access.contact and access.require is None and access.paths is None:
        raise refused("has a contact but no rules that could refuse a user; add require", key="access")


AccessOption = Annotated[
    AccessFile | None,
    _OrAnyone(),
    Field(
        description=(
            "Who may sign in with an account at the provider: anyone, or rules on claims. If both the tenant "
            "and one of its providers have this key, a user must meet both. Default: anyone; required if "
            "the provider offers accounts to the general public."
        )
    ),
]
HostedDomain = Annotated[
    EmailDomain | None,
    Field(
        description=(
            "With preset google: only accounts of the Google Workspace organisation with this domain may "
            "sign in. The portal sends it as hd and requires the same value in the claim hd."
        ),
        examples=["acme.example"],
    ),
]


def hosted_domain_rule(domain: str) -> Rule:
    """Return the rule for `hosted_domain`, since a provider may ignore the parameter `hd`."""
    return Rule(("hd",), Comparison.EQUALS, (domain,))
