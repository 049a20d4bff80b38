"""The shape of a tenant file. Descriptions here are the reference and what editors show."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from portal.config.field_types import (
    Duration,
    EmailDomain,
    HostName,
    IssuerUrl,
    LogoutTemplate,
    Name,
    OutboundUrl,
    ParamName,
    ProviderDomain,
    ScopeToken,
    Slug,
    Text,
    outbound_url,
    refused,
)
from portal.config.validation import FileModel
from portal.oidc.provider import REGISTERED_CLAIMS
from portal.tenancy.presets import PRESETS, PresetName
from portal.tenancy.schema.access import AccessOption, HostedDomain, check_effect
from portal.tenancy.schema.api import ApiFile, check_certificates
from portal.tenancy.schema.client import (
    ClientFile,
    IdTokenEncryptionOption,
    Tls,
    TlsFile,
    check_destinations,
)
from portal.tenancy.schema.organisation import BrandingFile, ClaimsFile, SessionFile
from portal.tenancy.schema.requested_claims import RequestedClaimsFile
from portal.tenancy.schema.requests import (
    Algorithm,
    PushedRequests,
    RequestedClaims,
    RequestObject,
    ResponseAlgorithms,
    ResponseModeOption,
)
from portal.tenancy.schema.tokens import Dpop, TenantIds, UserInfo, UserInfoAlgorithms

SCHEMA_NAME = "tenant.schema.json"

_OWN_KEYS = {
    "scope": "scopes",
    "audience": "audience",
    "resource": "resources",
    "max_age": "max_age",
    "claims": "requested_claims",
    "response_mode": "response_mode",
}
_SECURITY_PARAMS = REGISTERED_CLAIMS | frozenset(
    {
        "response_type",
        "client_id",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
        "redirect_uri",
        "state",
        "nonce",
        "code_challenge",
        "code_challenge_method",
        "code_verifier",
        "request",
        "request_uri",
        "registration",
        "dpop_jkt",
        "id_token_hint",
    }
)


def _free_param(name: str) -> str:
    if name in _OWN_KEYS:
        raise refused(f'has a key of its own: write "{_OWN_KEYS[name]}" beside authorize_params')
    if name in _SECURITY_PARAMS:
        raise refused("is set by the portal for the safety of the login and cannot be given here")
    return name


def _with_openid(scopes: list[str]) -> list[str]:
    # OIDC Core 3.1.2.1: without openid the request is no authentication request.
    if "openid" not in scopes:
        raise refused('lacks "openid", without which nobody can sign in; add it')
    return scopes


FreeParamName = Annotated[ParamName, AfterValidator(_free_param)]
Scopes = Annotated[list[ScopeToken], Field(max_length=100), AfterValidator(_with_openid)]


class EndpointsFile(FileModel):
    """Endpoints that win over the provider's metadata."""

    authorization: OutboundUrl | None = Field(default=None, description="The authorization endpoint.")
    token: OutboundUrl | None = Field(default=None, description="The token endpoint.")
    jwks: OutboundUrl | None = Field(default=None, description="Where the provider's keys are (jwks_uri).")
    userinfo: OutboundUrl | None = Field(default=None, description="The UserInfo endpoint.")
    end_session: OutboundUrl | None = Field(
        default=None, description="The endpoint for a logout (end_session_endpoint)."
    )
    revocation: OutboundUrl | None = Field(
        default=None, description="The endpoint that revokes tokens (RFC 7009)."
    )
    pushed_authorization_request: OutboundUrl | None = Field(
        default=None, description="The endpoint that sign-in requests are pushed to (RFC 9126)."
    )


class LogoutFile(FileModel):
    """How a logout at the provider is done when the standard way does not fit."""

    url: LogoutTemplate | None = Field(
        default=None,
        description=(
            "A logout URL with the placeholders {client_id} and {return_to}, for providers without the "
            "standard endpoint or with one of their own kind. It wins over the standard endpoint."
        ),
        examples=["https://login.example.com/logout?client_id={client_id}&next={return_to}"],
    )
    id_token_hint: bool = Field(
        default=True,
        description=(
            "Whether the ID token is sent along to the standard endpoint. Write false for a provider that "
            "refuses those it signed with a key that it has replaced."
        ),
    )


class ProviderFile(FileModel):
    """One OpenID provider registration."""

    label: Name | None = Field(
        default=None,
        description="What the sign-in page calls this provider when there are several.",
        examples=["Staff"],
    )
    preset: PresetName = Field(
        default="generic",
        description="The kind of provider; fills in issuer form, scopes, client auth and logout.",
    )
    domain: ProviderDomain | None = Field(
        default=None,
        description="The provider's domain, from which the preset makes the issuer. Either this or issuer.",
        examples=["acme.eu.auth0.com"],
    )
    issuer: IssuerUrl | None = Field(
        default=None,
        description="The issuer as the provider states it, trailing slash included. Either this or domain.",
        examples=["https://login.example.com/realms/acme"],
    )
    client: ClientFile = Field(description="How the portal is registered at the provider.")
    audience: Text | None = Field(
        default=None,
        description="The API that access tokens are for, sent as audience (Auth0).",
        examples=["https://api.acme.example"],
    )
    resources: list[OutboundUrl] = Field(
        default_factory=list,
        max_length=20,
        description=(
            "The APIs that a sign-in is for, sent as resource (RFC 8707). The access token is for the first; "
            "several APIs of one tenant are not there yet."
        ),
    )
    scopes: Scopes | None = Field(
        default=None,
        description="What is asked for; must contain openid. Default: as the preset says.",
        examples=[["openid", "profile", "email", "offline_access", "read:orders"]],
    )
    authorize_params: dict[FreeParamName, Text] = Field(
        default_factory=dict,
        max_length=30,
        description=(
            "Further parameters of the authorization request, such as prompt, organization, connection, "
            "login_hint, acr_values or ui_locales. Some providers grant offline_access only with prompt: "
            "consent. Those that keep a login safe cannot be given."
        ),
        examples=[{"organization": "org_acme", "ui_locales": "de en"}],
    )
    discovery: bool = Field(
        default=True,
        description=(
            "Whether endpoints are read from the issuer's metadata. When false, endpoints needs at least "
            "authorization, token and jwks."
        ),
    )
    endpoints: EndpointsFile = Field(
        default_factory=EndpointsFile, description="Endpoints that win over the provider's metadata."
    )
    id_token_algs: list[Algorithm] = Field(
        default=["RS256"],
        min_length=1,
        max_length=13,
        description="Algorithms with which this provider may sign ID tokens; HS256 needs a client secret.",
    )
    max_age: Duration | None = Field(
        default=None,
        description="How long ago a user may have signed in at the provider at most; 0s asks every time.",
    )
    acr_values: list[ScopeToken] = Field(
        default_factory=list,
        max_length=20,
        description="Authentication context classes that are asked for, the best first.",
    )
    requested_claims: RequestedClaims = Field(default_factory=RequestedClaimsFile)
    response_mode: ResponseModeOption = "query"
    response_algs: ResponseAlgorithms = Field(default=["RS256"])
    par: PushedRequests = False
    request_object: RequestObject = "none"
    dpop: Dpop = False
    userinfo: UserInfo | None = None
    userinfo_algs: UserInfoAlgorithms | None = None
    tenant_ids: TenantIds | None = None
    id_token_encryption: IdTokenEncryptionOption = None
    tls: Tls = Field(default_factory=TlsFile)
    logout: LogoutFile = Field(
        default_factory=LogoutFile,
        description="How a logout at the provider is done, when not the standard way.",
    )
    hosted_domain: HostedDomain = None
    access: AccessOption = None

    @model_validator(mode="after")
    def _means_something(self, info: ValidationInfo) -> ProviderFile:
        preset = PRESETS[self.preset]
        issuer = outbound_url(preset.issuer(self.domain, self.issuer), info, key="domain")
        self._check_scopes()
        check_destinations(self.client, self.endpoints, issuer, preset)
        if not self.discovery and not (
            self.endpoints.authorization and self.endpoints.token and self.endpoints.jwks
        ):
            raise refused("is false, so endpoints needs authorization, token and jwks", key="discovery")
        for key in ("id_token_algs", "response_algs", "userinfo_algs"):
            if self.client.secret is None and any(alg.startswith("HS") for alg in getattr(self, key) or ()):
                raise refused("has an HS algorithm, which needs a client secret", key=key)
        self._check_userinfo()
        self._check_tenant_ids()
        if self.acr_values and "acr_values" in self.authorize_params:
            raise refused("is also in authorize_params; keep one", key="acr_values")
        self._check_access()
        return self

    def _check_access(self) -> None:
        if self.hosted_domain is not None and self.preset != "google":
            raise refused("is only for preset google", key="hosted_domain")
        if self.hosted_domain is not None and "hd" in self.authorize_params:
            raise refused("is also in authorize_params, as hd; keep this key", key="hosted_domain")
        if self.hosted_domain is None:
            check_effect(self.access)
        elif self.access is not None and not self.access.model_fields_set:
            raise refused("is anyone, but hosted_domain keeps others out; keep one", key="access")

    @property
    def asks_userinfo(self) -> bool:
        """Whether UserInfo is asked for, as this file or its preset says."""
        known = self.discovery or self.endpoints.userinfo is not None
        return PRESETS[self.preset].asks_userinfo(self.userinfo, endpoint_known=known)

    def _check_userinfo(self) -> None:
        PRESETS[self.preset].check_userinfo(self.userinfo, self.scopes or ())
        if self.userinfo_algs and not self.asks_userinfo:
            raise refused("is of no use without userinfo: true", key="userinfo_algs")
        if self.userinfo and not self.discovery and not self.endpoints.userinfo:
            raise refused("is true, so endpoints needs userinfo", key="userinfo")

    def _check_tenant_ids(self) -> None:
        preset = PRESETS[self.preset]
        shared = preset.issuer_template(preset.issuer(self.domain, self.issuer)) is not None
        if shared and self.tenant_ids is None:
            remedy = "list the ids of the directories whose users may sign in, or write any for all there are"
            raise refused(f"is missing, and all directories share this issuer: {remedy}", key="tenant_ids")
        if self.tenant_ids is not None and not shared:
            raise refused("is only for preset entra with domain: organizations or common", key="tenant_ids")

    def _check_scopes(self) -> None:
        preset = PRESETS[self.preset]
        for scope in frozenset(preset.unknown_scopes).intersection(self.scopes or ()):
            raise refused(f'has "{scope}", which {preset.title} does not know; remove it', key="scopes")


class TenantBase(FileModel):
    """What belongs to the organisation, whatever its providers."""

    name: Name = Field(
        description="The organisation's name, as users know it.", examples=["Acme Corporation"]
    )
    api: ApiFile | None = Field(
        default=None, description="The API that the portal calls with the user's access token."
    )
    hosts: list[HostName] = Field(
        default_factory=list,
        max_length=20,
        description="Host names of the portal that belong to this tenant alone.",
        examples=[["portal.acme.example"]],
    )
    email_domains: list[EmailDomain] = Field(
        default_factory=list,
        max_length=200,
        description="Domains of work e-mail addresses by which users find this tenant.",
        examples=[["acme.example"]],
    )
    branding: BrandingFile = Field(
        default_factory=BrandingFile, description="How the tenant looks in the portal."
    )
    claims: ClaimsFile = Field(default_factory=ClaimsFile, description="Which claims the portal shows.")
    session: SessionFile = Field(default_factory=SessionFile, description="How long a login lasts at most.")
    access: AccessOption = None


class OneProviderTenantFile(ProviderFile, TenantBase):
    """A tenant with one provider, written flat."""

    @model_validator(mode="after")
    def _fits_one_provider(self) -> OneProviderTenantFile:
        check_certificates(self.api, [self.client])
        return self


class ManyProvidersTenantFile(TenantBase):
    """A tenant with several providers; the user chooses."""

    providers: dict[Slug, ProviderFile] = Field(
        min_length=1,
        max_length=20,
        description="The providers by a short name, which ends their redirect URIs.",
    )

    @model_validator(mode="after")
    def _access_has_an_effect(self) -> ManyProvidersTenantFile:
        check_effect(self.access)
        return self

    @model_validator(mode="after")
    def _fits_its_providers(self) -> ManyProvidersTenantFile:
        check_certificates(self.api, [provider.client for provider in self.providers.values()])
        return self


def model_for(root: object) -> type[OneProviderTenantFile] | type[ManyProvidersTenantFile]:
    """Return the model that a tenant file is meant to follow."""
    several = isinstance(root, dict) and "providers" in root
    return ManyProvidersTenantFile if several else OneProviderTenantFile
