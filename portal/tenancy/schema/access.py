"""Keys of a tenant file for access rules."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Any

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
from portal.access.rules import AccessRules, Comparison, PathRules, Rule
from portal.config.claim_rules import RuleFile
from portal.config.field_types import EmailDomain, Slug, Text, expected, refused
from portal.config.validation import FileModel

ANYONE = "anyone"
MAX_RULES = 20
MAX_PATHS = 50
MAX_PATH_RULES = 200
"""Rules of all paths together: a path with an unusual spelling may need many of them to be evaluated."""
_MAX_LENGTH = 500
_RULE_PATH = re.compile(r"/|(?:/[A-Za-z0-9_~-](?:[A-Za-z0-9._~-]*[A-Za-z0-9_~-])?)+/?")


def _rule_path(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MAX_LENGTH or not _RULE_PATH.fullmatch(value):
        raise expected(
            "a path of the API that begins with /, such as /admin/: letters, digits and - . _ ~ between "
            "slashes, without percent-encoding and placeholders"
        )
    return value


RulePath = Annotated[
    str,
    PlainValidator(_rule_path),
    WithJsonSchema({"title": "path", "type": "string", "pattern": f"^(?:{_RULE_PATH.pattern})$"}),
]


class PathRulesFile(FileModel):
    """Additional rules for calls to a part of the API."""

    api: Slug | None = Field(
        default=None,
        description="The API under apis that the path belongs to. Default: that of the key api.",
        examples=["billing"],
    )
    path: RulePath = Field(
        description=(
            "A path relative to the base_url of the API; the rules apply to it and all paths below it."
        ),
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
            "Additional rules for parts of an API; the longest matching path applies. The API itself must "
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
        paths = [(one.api, readable_segments(one.path)) for one in self.paths or ()]
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
                PathRules(one.path, tuple(rule.rule() for rule in one.require), one.api or "")
                for one in self.paths or ()
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


def check_path_apis(access: AccessFile | None, apis: Collection[str]) -> None:
    """Refuse a path rule for an API that there is not, or whose callers are not signed in.

    Parameters: apis, the names of those under `apis` with `access: user`.
    """
    paths = access.paths if access is not None else None
    if any(one.api is not None and one.api not in apis for one in paths or ()):
        raise refused(
            "has a path rule whose api is not the name of an API under apis with access: user", key="access"
        )


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
