"""Keys of a tenant file that say who may sign in."""

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
MOST_RULES = 20
MOST_PATHS = 50
MOST_PATH_RULES = 200
"""Rules of all paths together: for a path in another spelling, many of them may have to be looked at."""
MOST_VALUES = 100
_DEEPEST = 10
_LONGEST = 500
_DOTTED = re.compile(r"[A-Za-z0-9_:-]+(?:\.[A-Za-z0-9_:-]+)*")
_ENDING = re.compile(r"[@./][\x21-\x3f\x41-\x7e]+")
_RULE_PATH = re.compile(r"/|(?:/[A-Za-z0-9_~-](?:[A-Za-z0-9._~-]*[A-Za-z0-9_~-])?)+/?")
_OF_ONE_TOKEN = frozenset(("sid", "nonce", "jti", "iat", "exp", "nbf", "at_hash", "c_hash", "s_hash"))
"""Claims about a token and not about the user; each new token has others."""


def _is_line(value: object) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= _LONGEST
        and not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in value)
    )


def _claim_path(value: object) -> ClaimPath:
    if isinstance(value, str):
        if not _DOTTED.fullmatch(value) or len(value) > _LONGEST:
            raise expected(
                "the name of a claim, with dots between the names of nested objects; a name with dots or "
                'slashes of its own is written as a list, such as ["https://acme.example/roles"]'
            )
        path = tuple(value.split("."))
    elif isinstance(value, list) and all(map(_is_line, value)):
        path = tuple(cast(list[str], value))
    else:
        raise expected("the name of a claim, or a list of the names that lead to it")
    if not 1 <= len(path) <= _DEEPEST:
        raise expected(f"the name of a claim at most {_DEEPEST} objects deep")
    if path[0] in _OF_ONE_TOKEN:
        raise refused("is a claim about one token, not about a user; choose another")
    return path


def _scalar(value: object) -> Scalar:
    # exactly as it is written, since it is compared so: not trimmed
    if (
        _is_line(value)
        or isinstance(value, bool)
        or (isinstance(value, int) and abs(value) <= LARGEST_NUMBER)
    ):
        return cast(Scalar, value)
    raise expected(f"text of 1 to {_LONGEST} visible characters, a whole number, true or false")


def _endings(value: object) -> tuple[str, ...]:
    endings = value if isinstance(value, list) else [value]
    if not 1 <= len(endings) <= MOST_VALUES:
        raise expected(f"an ending, or a list of 1 to {MOST_VALUES}")
    for one in endings:
        if not isinstance(one, str):
            raise expected('text that begins with @, . or /, such as "@acme.example", or a list of them')
        if not one.isascii():
            raise refused("has characters beyond ASCII, which no address has; write the domain as xn--…")
        if not one.startswith(("@", ".", "/")):
            raise refused(
                'must begin with @, . or /, such as "@acme.example": without it, an address at another '
                "domain could end so"
            )
        if not _ENDING.fullmatch(one) or len(one) > _LONGEST:
            raise refused("must be @, . or / and then printable characters without a space or another @")
    return tuple(cast(list[str], endings))


def _true(value: object) -> bool:
    if value is not True:
        raise expected("true; the opposite is no rule that lets somebody in")
    return True


def _rule_path(value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST or not _RULE_PATH.fullmatch(value):
        raise expected(
            "a path of the API that begins with /, of letters, digits and - . _ ~ between slashes, without "
            "escapes and placeholders, such as /admin/"
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
                {"type": "array", "minItems": 1, "maxItems": _DEEPEST, "items": {"type": "string"}},
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
                    "maxItems": MOST_VALUES,
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
    """One comparison of one claim. It never holds for a claim that is missing or of another type."""

    claim: ClaimName = Field(
        description=(
            "The claim. Dots walk into objects (realm_access.roles); a list is an exact path, for names with "
            "dots and slashes."
        ),
        examples=["email", ["https://acme.example/roles"]],
    )
    equals: Value | None = Field(default=None, description="The claim has this value.")
    one_of: list[Value] | None = Field(
        default=None,
        min_length=1,
        max_length=MOST_VALUES,
        description="The claim has one of these values.",
    )
    contains: Value | None = Field(default=None, description="The claim is a list that has this value.")
    contains_any: list[Value] | None = Field(
        default=None,
        min_length=1,
        max_length=MOST_VALUES,
        description="The claim is a list that has one of these values.",
    )
    contains_all: list[Value] | None = Field(
        default=None,
        min_length=1,
        max_length=MOST_VALUES,
        description="The claim is a list that has all of these values.",
    )
    ends_with: Endings | None = Field(
        default=None,
        description=(
            "The claim is text that ends so, or with one of these endings; each begins with @, . or /. Upper "
            "and lower case count, and an address must be plain ASCII with one @."
        ),
        examples=["@acme.example"],
    )
    present: Yes | None = Field(
        default=None, description="The claim is there, and neither null, false nor empty."
    )
    verified_by: ClaimName | None = Field(
        default=None,
        description="A claim that must besides be true: a boolean, not the text.",
        examples=["email_verified"],
    )

    @model_validator(mode="after")
    def _compares_once(self) -> RuleFile:
        given = self._comparisons()
        if not given:
            raise refused(f"lacks a comparison: one of {', '.join(Comparison)}")
        if len(given) > 1:
            raise refused(f"has {' and '.join(given)}; write a rule for each", key=given[1])
        if self.verified_by == self.claim:
            raise refused("is the claim itself; name another, such as email_verified", key="verified_by")
        return self

    def _comparisons(self) -> list[Comparison]:
        return [one for one in Comparison if getattr(self, one) is not None]

    def rule(self) -> Rule:
        """The rule as it is evaluated."""
        (comparison,) = self._comparisons()
        value = getattr(self, comparison)
        values = tuple(value) if isinstance(value, list | tuple) else (value,)
        if comparison is Comparison.PRESENT:
            values = ()
        return Rule(self.claim, comparison, values, self.verified_by)


class PathRulesFile(FileModel):
    """What calls of a part of the API need besides."""

    path: RulePath = Field(
        description="A path of the API, below api.base_url; the rules are for it and all that is below it.",
        examples=["/admin/"],
    )
    require: list[RuleFile] = Field(
        min_length=1, max_length=MOST_RULES, description="Rules that must all hold."
    )


class AccessFile(FileModel):
    """Who may sign in, beside having an account at the provider: `anyone`, or rules on their claims."""

    require: list[RuleFile] | None = Field(
        default=None,
        min_length=1,
        max_length=MOST_RULES,
        description="Rules that must all hold for whoever signs in. Default: anyone may.",
    )
    paths: list[PathRulesFile] | None = Field(
        default=None,
        min_length=1,
        max_length=MOST_PATHS,
        description=(
            "More rules for parts of the API; the longest path wins. The API itself must still decide what a "
            "user may do."
        ),
    )
    contact: Text | None = Field(
        default=None,
        description="Whom somebody asks who is not let in; shown on the page that says so.",
        examples=["IT service desk, help@acme.example"],
    )

    @model_validator(mode="after")
    def _says_something(self) -> AccessFile:
        if not self.model_fields_set:
            raise refused("is empty; write require, or access: anyone")
        paths = [readable_segments(one.path) for one in self.paths or ()]
        if len(set(paths)) < len(paths):
            raise refused("has the same path twice; upper and lower case are the same here", key="paths")
        rules = sum(len(one.require) for one in self.paths or ())
        if rules > MOST_PATH_RULES:
            raise refused(f"has {rules} rules for all paths together; at most {MOST_PATH_RULES}", key="paths")
        return self

    @property
    def says_who(self) -> bool:
        """Whether it says who may sign in: by rules, or that anyone may."""
        return self.require is not None or not self.model_fields_set

    def rules(self) -> AccessRules:
        """The rules as they are evaluated."""
        return AccessRules(
            require=tuple(one.rule() for one in self.require or ()),
            paths=tuple(
                PathRules(one.path, tuple(rule.rule() for rule in one.require)) for one in self.paths or ()
            ),
            contact=self.contact,
        )


class _OrAnyone:
    """Lets the word `anyone` stand for a mapping without rules."""

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
            raise expected("the word anyone, or a mapping with require")
        return handler(value)


def check_effect(access: AccessFile | None) -> None:
    """Refuse an `access` that lets everybody in and nevertheless names whom to ask."""
    if access is not None and access.contact and access.require is None and access.paths is None:
        raise refused("has a contact, but no rule that keeps somebody out; write require", key="access")


AccessOption = Annotated[
    AccessFile | None,
    _OrAnyone(),
    Field(
        description=(
            "Who may sign in, beside having an account at the provider: anyone, or rules on claims. Where "
            "both the tenant and one of its providers have this key, both must hold. Default: anyone; "
            "required where anybody in the world can have an account at the provider."
        )
    ),
]
HostedDomain = Annotated[
    EmailDomain | None,
    Field(
        description=(
            "With preset google: only accounts of the Google Workspace organisation of this domain may sign "
            "in. It is sent as hd, and the claim hd must be the same."
        ),
        examples=["acme.example"],
    ),
]


def hosted_domain_rule(domain: str) -> Rule:
    """The rule that `hosted_domain` stands for: a provider may ignore the parameter `hd`."""
    return Rule(("hd",), Comparison.EQUALS, (domain,))
