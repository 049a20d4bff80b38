"""The schema of a preset file. Editors and the guide show these descriptions."""

from __future__ import annotations

import re
from datetime import date
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema, model_validator

from portal.config.field_types import Color, Name, OutboundUrl, Text, check_outbound, expected, refused
from portal.config.validation import FileModel
from portal.oidc.provider import AssertionAudience
from portal.tenancy.presets.model import (
    ApiRules,
    AssertionRules,
    ClaimRules,
    IssuerRules,
    Logo,
    LogoutRules,
    Mistake,
    Preset,
    PresetField,
    Source,
    key_of,
)
from portal.tenancy.presets.templates import fill_known, placeholders

_LONGEST_PATTERN = 300
_FIELD_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_KEY = re.compile(r"[a-z_]+(\.[a-z_]+){0,2}")
PORTAL_URLS = (
    *("callback_url", "signed_out_url", "backchannel_logout_url", "frontchannel_logout_url"),
    *("initiate_login_url", "jwks_url", "portal_url"),
)
"""Placeholders of steps: the URLs of the portal that are registered at the provider."""
_RUN_TIME = {"client_id": "x", "return_to": "x"}


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error:
        raise expected("a regular expression of Python, such as [a-z0-9-]+") from None
    if len(text) > _LONGEST_PATTERN:
        raise expected(f"a regular expression of at most {_LONGEST_PATTERN} characters")
    return text


def _field_name(text: str) -> str:
    if not _FIELD_NAME.fullmatch(text) or text in PORTAL_URLS:
        raise expected(
            "a name of small letters, digits and _, at most 40, that is not one of the portal's URLs"
        )
    return text


def _key(text: str) -> str:
    if not _KEY.fullmatch(text):
        raise expected("the path of a key of a provider, such as audience or client.id")
    return text


def _step(text: str) -> str:
    unknown = placeholders(text) - {*PORTAL_URLS}
    if unknown:
        raise refused(f"has an unknown placeholder; these exist: {', '.join(PORTAL_URLS)}")
    return text


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise expected("a day such as 2026-11-22") from None


def _logout_url(text: str, info: ValidationInfo) -> str:
    if placeholders(text) - {"domain", *_RUN_TIME}:
        raise refused("must have no placeholders but {domain}, {client_id} and {return_to}")
    check_outbound(
        fill_known(text, {"domain": "login.example.com", **_RUN_TIME}), allow_private_networks=True
    )
    return text


Pattern = Annotated[str, AfterValidator(_pattern), WithJsonSchema({"type": "string", "format": "regex"})]
Step = Annotated[Text, AfterValidator(_step)]
Day = Annotated[str, AfterValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]


class LogoFile(FileModel):
    """What stands for the provider on a button: letters on a colour, not its trademark."""

    letters: Annotated[str, Field(min_length=1, max_length=2)] = Field(description="One or two letters.")
    color: Color = Field(description="The background, such as #1f6feb (in quotes).")


class FieldFile(FileModel):
    """A value that an administrator is asked for."""

    label: Name = Field(description="What the provider's console calls it.")
    help: Text = Field(description="Where to find it, and how it looks.")
    example: Text = Field(description="A value with the right form; the checks of this file use it.")
    pattern: Pattern | None = Field(
        default=None,
        description=(
            "A regular expression that the whole value matches. Default: letters, digits and . _ ~ - for a "
            "field of its own; otherwise any value that its key accepts."
        ),
    )
    optional: bool = Field(default=False, description="Whether the value may be left out.")
    default: Text | None = Field(default=None, description="The value if none is given.")
    key: Annotated[str, AfterValidator(_key)] | None = Field(
        default=None,
        description=(
            "Where a tenant file has the value, such as client.signed_secret.private_key. Default: the key "
            "with the same name for domain, issuer, audience and hosted_domain; client.id and client.secret "
            "for client_id and client_secret; fields.<name> for every other name."
        ),
    )


class IssuerFile(FileModel):
    """How the issuers of this kind of provider look."""

    example: Text = Field(description="An issuer, or its form with <…>, for messages.")
    ends_with: Text | None = Field(default=None, description="The end of every issuer.")
    recognized_by: list[Pattern] = Field(
        default_factory=list,
        max_length=20,
        description=(
            "Regular expressions of whole issuers that no other kind of provider has: a tenant file with "
            "such an issuer and another preset is refused."
        ),
    )


class LogoutFile(FileModel):
    """Logout at the provider, and logouts that the provider sends."""

    url: Annotated[Text, AfterValidator(_logout_url)] | None = Field(
        default=None,
        description=(
            "A logout URL with {domain}, {client_id} and {return_to}, for providers without the standard "
            "endpoint. {domain} is the issuer's host, or the key domain where the issuer does not need it."
        ),
    )
    overrides_metadata: bool = Field(
        default=False,
        description="Whether url is used although the metadata has an end_session_endpoint.",
    )
    encrypts_tokens: bool = Field(
        default=True, description="Whether a provider that encrypts ID tokens also encrypts logout tokens."
    )
    frontchannel_without_issuer: bool = Field(
        default=False, description="Whether front-channel logout requests contain sid but not iss."
    )
    registration: list[Step] = Field(
        default_factory=list,
        max_length=20,
        description="What to register at the provider for logouts, one sentence each.",
    )


class AssertionsFile(FileModel):
    """Client assertions (private_key_jwt, client_secret_jwt)."""

    accepted: bool = Field(
        default=True, description="Whether the provider may accept the portal's client assertions."
    )
    audience: Literal["issuer", "token_endpoint", "endpoint"] = Field(
        default="issuer", description="The audience that it requires."
    )
    certificates_only: bool = Field(
        default=False,
        description="Whether it accepts only assertions signed with the key of an uploaded certificate.",
    )


class ApiFile(FileModel):
    """What a tenant file with an API needs so that access tokens are for it."""

    needs: Literal["audience", "scope", "issuer_path"] | None = Field(
        default=None,
        description=(
            "audience: the key audience. scope: a scope that is not one of OpenID Connect. issuer_path: an "
            "issuer with a path."
        ),
    )
    advice: Text | None = Field(default=None, description="The sentence of the warning, in lower case.")
    tokens: Literal["refresh_resource", "refresh_audience", "refresh_scope", "exchange", "login"] | None = (
        Field(
            default=None,
            description=(
                "How the provider issues access tokens for further APIs of a tenant (apis): for the refresh "
                "token with resource, audience or scope, by token exchange, or only by one more login."
            ),
        )
    )

    @model_validator(mode="after")
    def _check_advice(self) -> ApiFile:
        if (self.needs is None) != (self.advice is None):
            raise refused("has only one of needs and advice; write both or none")
        return self

    def rules(self) -> ApiRules:
        """Return them as the preset has them."""
        return ApiRules(self.needs, self.advice or "", self.tokens)


class ClaimsFile(FileModel):
    """The claims that carry what the portal shows."""

    name: Text | None = Field(default=None, description="The claim with the user's name.")
    email: Text | None = Field(default=None, description="The claim with the e-mail address.")
    groups: Text | None = Field(default=None, description="The claim with groups or roles.")
    groups_limit: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="ID tokens lack the groups of users in more groups than this."
    )


class MistakeFile(FileModel):
    """A known mistake, and what to do about it."""

    place: Literal["domain", "issuer", "error", "metadata"] = Field(
        description=(
            "Where the pattern is searched for. domain, issuer: the key of the tenant file, which is then "
            "refused. error: `code: description` of an error response. metadata: `name: value` of one member "
            "of the provider's metadata."
        )
    )
    pattern: Pattern = Field(description="A regular expression that is found in the value.")
    advice: Text = Field(description="What is wrong and what to do; for a key, the rest of a sentence.")


class SourceFile(FileModel):
    """Where facts of this file come from."""

    facts: Text = Field(description="Which facts.")
    url: OutboundUrl | None = Field(default=None, description="The page of the provider's documentation.")
    read: Day | None = Field(default=None, description="The day on which it was read.")
    unverified: bool = Field(
        default=False, description="Whether the facts could not be read in the provider's documentation."
    )

    @model_validator(mode="after")
    def _check_url(self) -> SourceFile:
        if not self.unverified and (self.url is None or self.read is None):
            raise refused("lacks url and read; or write unverified: true")
        return self


class PresetFile(FileModel):
    """A preset file: what is known about a kind of provider."""

    title: Name = Field(description="The provider's name.")
    logo: LogoFile = Field(description="What stands for the provider on a button.")
    fields: dict[Annotated[str, AfterValidator(_field_name)], FieldFile] = Field(
        default_factory=dict, max_length=12, description="What an administrator is asked for, in this order."
    )
    provider: dict[str, object] = Field(
        default_factory=dict,
        description=(
            "Defaults for the keys of a provider in a tenant file, with {name} for the value of a field. An "
            "entry whose value is missing is left out. issuer: how the issuer follows from the fields."
        ),
    )
    issuer: IssuerFile = Field(description="How the issuers of this kind of provider look.")
    unsupported_scopes: list[Text] = Field(
        default_factory=list, max_length=20, description="Scopes that the provider answers with an error."
    )
    userinfo_api: OutboundUrl | None = Field(
        default=None,
        description="The API whose access tokens the UserInfo endpoint needs; no other is accepted there.",
    )
    offline_needs_consent: bool = Field(
        default=False, description="Whether offline_access may have no effect without prompt: consent."
    )
    refresh_tokens: bool = Field(default=True, description="Whether the portal can get refresh tokens.")
    public_accounts: bool = Field(
        default=False,
        description="Whether anyone can have an account, so that a tenant file needs access.",
    )
    logout: LogoutFile = Field(default_factory=LogoutFile, description="Logouts, in both directions.")
    assertions: AssertionsFile = Field(default_factory=AssertionsFile, description="Client assertions.")
    api: ApiFile | None = Field(default=None, description="What access tokens for an API need.")
    claims: ClaimsFile = Field(
        default_factory=ClaimsFile, description="The claims that carry what the portal shows."
    )
    console: list[Step] = Field(
        default_factory=list,
        max_length=30,
        description=(
            "The steps in the provider's console, one each, with {callback_url}, {signed_out_url}, "
            "{backchannel_logout_url}, {frontchannel_logout_url}, {initiate_login_url}, {jwks_url} and "
            "{portal_url}."
        ),
    )
    mistakes: list[MistakeFile] = Field(
        default_factory=list, max_length=50, description="Known mistakes and what to do."
    )
    notes: list[Text] = Field(
        default_factory=list,
        max_length=20,
        description="What an administrator should know, one sentence each.",
    )
    sources: list[SourceFile] = Field(min_length=1, max_length=30, description="Where the facts come from.")
    hooks: Name | None = Field(
        default=None,
        description="The name of built-in hooks: entra or apple. An installed preset has its own.",
    )

    @model_validator(mode="after")
    def _check_placeholders(self) -> PresetFile:
        unknown = placeholders(self.provider) - self.fields.keys()
        if unknown:
            raise refused(
                "has a placeholder that is not the name of a field; add it to fields", key="provider"
            )
        keys = sorted(_field(name, one).key for name, one in self.fields.items())
        for key, after in pairwise(keys):
            if after[: len(key)] == key:
                raise refused(f"has two fields at {'.'.join(key)}; write another key for one", key="fields")
        logout = self.provider.get("logout")
        if isinstance(logout, dict) and "url" in logout:
            raise refused("has logout.url; write it next to provider", key="provider")
        return self

    def preset(self, name: str, *, digest: str) -> Preset:
        """Return the preset. Parameters: name, by which tenant files call it; digest, of the file."""
        return Preset(
            name=name,
            title=self.title,
            logo=Logo(self.logo.letters, self.logo.color),
            issuer_rules=IssuerRules(
                self.issuer.example, self.issuer.ends_with or "", tuple(self.issuer.recognized_by)
            ),
            provider=self.provider,
            fields={name: _field(name, one) for name, one in self.fields.items()},
            unsupported_scopes=tuple(self.unsupported_scopes),
            userinfo_api=self.userinfo_api,
            offline_needs_consent=self.offline_needs_consent,
            refresh_tokens=self.refresh_tokens,
            public_accounts=self.public_accounts,
            logout=LogoutRules(**{**dict(self.logout), "registration": tuple(self.logout.registration)}),
            assertions=AssertionRules(
                self.assertions.accepted,
                AssertionAudience(self.assertions.audience),
                self.assertions.certificates_only,
            ),
            api=None if self.api is None else self.api.rules(),
            claims=ClaimRules(**dict(self.claims)),
            console=tuple(self.console),
            mistakes=tuple(Mistake(one.place, one.pattern, one.advice) for one in self.mistakes),
            notes=tuple(self.notes),
            sources=tuple(Source(**dict(one)) for one in self.sources),
            digest=digest,
        )


def _field(name: str, written: FieldFile) -> PresetField:
    key = tuple(written.key.split(".")) if written.key else key_of(name)
    return PresetField(**{**dict(written), "key": key})
