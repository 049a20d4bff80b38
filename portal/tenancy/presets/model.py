"""A preset: what is known about a kind of provider."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from types import MappingProxyType
from typing import Literal
from urllib.parse import urlsplit

from portal.config.field_types import refused
from portal.oidc.provider import AssertionAudience
from portal.tenancy.presets.hooks import Hooks
from portal.tenancy.presets.templates import (
    fill,
    fill_known,
    fill_text,
    merged,
    placeholders,
    put,
    value_at,
)

OFFLINE_ACCESS = "offline_access"
METADATA_PATHS = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")
MistakePlace = Literal["domain", "issuer", "error", "metadata"]

_KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"client_id": ("client", "id"), "client_secret": ("client", "secret")}
)
_OWN_KEYS = frozenset({"domain", "issuer", "audience", "hosted_domain"})
_PLAIN_VALUE = r"[A-Za-z0-9._~-]+"


@dataclass(frozen=True, slots=True)
class Logo:
    """What stands for the provider on a button: one or two letters on a colour (`#rrggbb`)."""

    letters: str
    color: str


@dataclass(frozen=True, slots=True)
class PresetField:
    """A value that an administrator is asked for."""

    label: str
    """What the provider's console calls it."""
    help: str
    example: str
    pattern: str | None = None
    """What a value must match as a whole. None: any value that the key of the tenant file accepts."""
    optional: bool = False
    default: str | None = None
    key: tuple[str, ...] = ()
    """The path of keys within a provider of a tenant file."""


@dataclass(frozen=True, slots=True)
class IssuerRules:
    """How the issuers of a kind of provider look."""

    example: str
    ends_with: str = ""
    recognized_by: tuple[str, ...] = ()
    """Patterns of issuers that only this kind of provider has."""


@dataclass(frozen=True, slots=True)
class LogoutRules:
    """Logout at the provider, and logouts that the provider sends."""

    url: str | None = None
    """A logout URL with {domain}, {client_id} and {return_to}, for providers without a standard endpoint."""
    overrides_metadata: bool = False
    """The `end_session_endpoint` in the metadata does not accept the standard parameters."""
    encrypts_tokens: bool = True
    """Whether a provider that encrypts ID tokens also encrypts logout tokens."""
    frontchannel_without_issuer: bool = False
    """Front-channel logout requests contain `sid` but not `iss`."""
    registration: tuple[str, ...] = ()
    """What to register at the provider, as text with placeholders for the portal's URLs."""


@dataclass(frozen=True, slots=True)
class AssertionRules:
    """Client assertions (`private_key_jwt`, `client_secret_jwt`)."""

    accepted: bool = True
    """Whether a provider of this kind may accept the portal's client assertions."""
    audience: AssertionAudience = AssertionAudience.ISSUER
    """The audience that it requires."""
    certificates_only: bool = False
    """Whether it accepts only assertions signed with the key of an uploaded certificate."""


@dataclass(frozen=True, slots=True)
class ApiRules:
    """What a tenant file needs so that access tokens are for the tenant's API."""

    needs: Literal["audience", "scope", "issuer_path"] | None = None
    """The key `audience`; a scope that is not one of OpenID Connect; an issuer with a path."""
    advice: str = ""
    tokens: str | None = None
    """An `ApiTokenMethod`: how the provider issues access tokens for further APIs; None if unknown."""


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """The claims that carry what the portal shows."""

    name: str | None = None
    email: str | None = None
    groups: str | None = None
    groups_limit: int | None = None
    """The ID token omits the groups of users in more groups than this."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A known mistake, and what to do."""

    place: MistakePlace
    pattern: str
    """Searched for in the value: of the key, of `error: description`, or of one `name: value` of metadata."""
    advice: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where facts of a preset come from."""

    facts: str
    url: str | None = None
    read: str | None = None
    """The day on which the page was read, `yyyy-mm-dd`."""
    unverified: bool = False
    """Whether the facts could not be read in the provider's own documentation."""


@dataclass(frozen=True)
class Preset:
    """What is known about a kind of provider. A tenant file can override the defaults."""

    name: str
    title: str
    logo: Logo
    issuer_rules: IssuerRules
    provider: Mapping[str, object] = field(default_factory=dict)
    """Defaults for the keys of a provider, with placeholders for the values of `fields`."""
    fields: Mapping[str, PresetField] = field(default_factory=dict)
    unsupported_scopes: tuple[str, ...] = ()
    """Scopes for which this kind of provider returns an error."""
    userinfo_api: str | None = None
    """UserInfo accepts only access tokens for this API. A scope that is a URL selects another API."""
    offline_needs_consent: bool = False
    """Whether the provider may ignore `offline_access` without `prompt: consent` (OIDC Core 11)."""
    refresh_tokens: bool = True
    """Whether it issues refresh tokens to the portal."""
    public_accounts: bool = False
    """Whether anyone can have an account at each provider of this kind."""
    logout: LogoutRules = field(default_factory=LogoutRules)
    assertions: AssertionRules = field(default_factory=AssertionRules)
    api: ApiRules | None = None
    claims: ClaimRules = field(default_factory=ClaimRules)
    console: tuple[str, ...] = ()
    """The steps in the provider's console, as text with placeholders for the portal's URLs."""
    mistakes: tuple[Mistake, ...] = ()
    notes: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    hooks: Hooks = field(default_factory=Hooks)
    digest: str = ""
    """SHA-256 of the preset file: another file makes another tenant of the same tenant file."""

    # --- the issuer

    @property
    def default_issuer(self) -> str | None:
        """The issuer of a tenant file that determines none."""
        return fill_text(self._issuer_form, self._default_values)

    @property
    def issuer_needs(self) -> list[str]:
        """The names of the fields that determine the issuer and have no default."""
        return [
            name for name in self.fields if name in self._issuer_placeholders - self._default_values.keys()
        ]

    @cached_property
    def _issuer_form(self) -> str:
        return str(self.provider.get("issuer", "{issuer}"))

    @cached_property
    def _issuer_placeholders(self) -> set[str]:
        return placeholders(self._issuer_form)

    def issuer(self, domain: str | None, issuer: str | None, values: Mapping[str, str]) -> str:
        """Return the issuer for the keys of a tenant file; raise `refused` if they determine none.

        Parameters: domain and issuer, the keys of the file; values, of the other fields.
        """
        if issuer:
            self._check_conflicts(domain, values)
            self._check(issuer)
            return issuer
        shared = self.hooks.shared_issuer(domain) if domain else None
        if shared:
            return shared
        if domain and "domain" not in self.fields:
            raise refused(self._remedy(domain), key="domain")
        given = values if domain is None else {**values, "domain": domain}
        filled = fill_text(self._issuer_form, {**self._default_values, **given})
        if filled is None:
            raise refused(self._remedy(domain), key="domain" if domain else None)
        return filled

    def _check_conflicts(self, domain: str | None, values: Mapping[str, str]) -> None:
        determined_by = self._issuer_placeholders
        if domain and ("domain" in determined_by or "domain" not in self.fields):
            raise refused('conflicts with "issuer"; keep one of the two', key="domain")
        if determined_by & values.keys():
            raise refused('conflicts with "issuer", which they determine; keep one of the two', key="fields")

    def issuer_template(self, issuer: str) -> str | None:
        """Return the issuer template in metadata and tokens of an issuer that all directories share."""
        return self.hooks.issuer_template(issuer)

    @property
    def error_translation(self) -> Callable[[str, str], str | None] | None:
        """The hook for error codes; None for hooks that leave them as they are."""
        return None if type(self.hooks).error_code is Hooks.error_code else self.hooks.error_code

    def recognizes(self, issuer: str) -> bool:
        """Whether an issuer has a form that only this kind of provider uses."""
        return any(re.fullmatch(pattern, issuer) for pattern in self.issuer_rules.recognized_by)

    def _remedy(self, domain: str | None) -> str:
        fixed, example = self.default_issuer, self.issuer_rules.example
        if domain and fixed:
            return f"does not determine the issuer of {self.title}, which is {fixed}; remove it"
        if domain:
            return f"does not determine the issuer of {self.title}; write issuer: {example}"
        if "domain" in self.issuer_needs:
            domain_example = self.fields["domain"].example
            return f'lacks "domain" or "issuer": write domain: {domain_example}, or issuer: {example}'
        written = [f"{name}: {self.fields[name].example}" for name in self.issuer_needs if name != "issuer"]
        fields = f", or fields: {{{', '.join(written)}}}" if written else ""
        return f'lacks "issuer": write issuer: {example}{fields}'

    def _check(self, issuer: str) -> None:
        for path in METADATA_PATHS:
            if issuer.endswith(path):
                slash = " (keep the slash before it)" if self.issuer_rules.ends_with == "/" else ""
                cut = path[1:] if slash else path
                raise refused(
                    f"is the URL of the provider's metadata; remove {cut} at its end{slash}", key="issuer"
                )
        reason = self.hooks.check_issuer(issuer)
        if reason is not None:
            raise refused(reason, key="issuer")
        if not issuer.endswith(self.issuer_rules.ends_with):
            raise refused(
                f"must end with {self.issuer_rules.ends_with} as in {self.issuer_rules.example}", key="issuer"
            )

    # --- defaults of a provider's keys

    @cached_property
    def scopes(self) -> tuple[str, ...]:
        """The scopes that are requested by default, without those that need a value."""
        scopes = fill(self.provider.get("scopes", []), self._default_values)
        return tuple(map(str, scopes)) if isinstance(scopes, list) else ()

    @property
    def client_auth(self) -> str:
        """The default of `client.auth`."""
        client = self.provider.get("client")
        found = client.get("auth") if isinstance(client, Mapping) else None
        return str(found or "client_secret_basic")

    def with_defaults(self, written: Mapping[str, object]) -> dict[str, object]:
        """Return the keys of a provider, with the defaults for those that the tenant file lacks.

        The issuer is not among the defaults: see `issuer`.
        """
        defaults = self._other_keys
        if self._has_placeholders:
            filled = fill(defaults, {**self._default_values, **self.values_of(written)})
            defaults = filled if isinstance(filled, dict) else {}
        return merged(defaults, written)

    @cached_property
    def _other_keys(self) -> dict[str, object]:
        return {key: one for key, one in self.provider.items() if key != "issuer"}

    @cached_property
    def _has_placeholders(self) -> bool:
        return bool(placeholders(self._other_keys))

    def missing_fields(self, written: Mapping[str, object]) -> dict[str, PresetField]:
        """Return the required fields that a provider of a tenant file lacks below the key `fields`.

        Those that determine the issuer are not among them: the file can state the issuer instead.
        """
        if not self._required_fields:
            return {}
        given = written.get("fields")
        known: Mapping[str, object] = given if isinstance(given, Mapping) else {}
        return {name: one for name, one in self._required_fields.items() if name not in known}

    @cached_property
    def _required_fields(self) -> dict[str, PresetField]:
        return {
            name: one
            for name, one in self.fields.items()
            if one.key[0] == "fields"
            and not one.optional
            and one.default is None
            and name not in self._issuer_placeholders
        }

    def tenant_keys(self, values: Mapping[str, str]) -> dict[str, object]:
        """Return the keys of a provider in a tenant file, without defaults.

        Parameters: values, of fields, by name.
        """
        keys: dict[str, object] = {"preset": self.name}
        for name, one in self.fields.items():
            if name in values:
                put(keys, one.key, values[name])
        return keys

    def values_of(self, written: Mapping[str, object]) -> dict[str, str]:
        """Return the values of the fields that a provider of a tenant file has."""
        found = {name: value_at(written, one.key) for name, one in self.fields.items()}
        return {name: value for name, value in found.items() if isinstance(value, str)}

    def check_fields(self, given: Mapping[str, str]) -> None:
        """Refuse values of the key `fields` that this preset does not ask for, or of another form."""
        asked = {name: one for name, one in self.fields.items() if one.key[0] == "fields"} if given else {}
        for name, value in given.items():
            if name not in asked:
                known = f"has only: {', '.join(asked)}" if asked else "has none"
                raise refused(
                    f"has a name that preset {self.name} does not ask for; it {known}", key="fields"
                )
            if not re.fullmatch(asked[name].pattern or _PLAIN_VALUE, value):
                raise refused(f"has a {name} that is not one; expected a value such as {asked[name].example}",
                              key="fields")  # fmt: skip

    def logout_template(self, domain: str | None, issuer: str) -> str | None:
        """Return the logout URL with {client_id} and {return_to}, or None for the standard endpoint."""
        separate = "domain" in self.fields and "domain" not in self._issuer_placeholders
        host = domain if separate else urlsplit(issuer).netloc
        return fill_known(self.logout.url, {"domain": host}) if self.logout.url and host else None

    def check_userinfo(self, configured: bool | None, scopes: Sequence[str]) -> None:
        """Refuse `userinfo: true` if the access token is for an API other than UserInfo's.

        Parameters: configured and scopes, from the file. Without a scope that selects an API, the token is
        for UserInfo's.
        """
        if not configured or self.userinfo_api is None:
            return
        if any("/" in scope and not scope.startswith(self.userinfo_api) for scope in scopes):
            raise refused(
                f"needs an access token for {self.userinfo_api}, but scopes request one for another API; "
                f"remove userinfo: ID tokens of {self.title} contain the same claims",
                key="userinfo",
            )

    # --- advice

    def advice(self, place: MistakePlace, text: str) -> str | None:
        """Return what to do about a value with a known mistake; None if there is none.

        Parameters: place, what the value is; text, see `Mistake.pattern`.
        """
        found = (one for one in self.mistakes if one.place == place and re.search(one.pattern, text))
        return next((one.advice for one in found), None)

    @cached_property
    def error_advice(self) -> Callable[[str], str | None] | None:
        """The advice about an error `code: description` of the provider; None without known errors."""
        if not any(one.place == "error" for one in self.mistakes):
            return None
        return partial(self.advice, "error")

    @cached_property
    def _default_values(self) -> dict[str, str]:
        return {name: one.default for name, one in self.fields.items() if one.default is not None}


def key_of(name: str) -> tuple[str, ...]:
    """Return the path of keys of a field whose preset file does not state one."""
    if name in _OWN_KEYS:
        return (name,)
    return _KEYS.get(name, ("fields", name))
