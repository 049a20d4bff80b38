"""The keys of one provider in a tenant file."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from portal.config.field_types import (
    Duration,
    IssuerUrl,
    LogoutTemplate,
    Name,
    OutboundUrl,
    ParamName,
    ProviderDomain,
    ScopeToken,
    Text,
    outbound_url,
    refused,
)
from portal.config.secret_references import SealableText
from portal.config.validation import FileModel
from portal.oidc.provider import REGISTERED_CLAIMS
from portal.tenancy.presets import DEFAULT, Preset
from portal.tenancy.schema.access import AccessOption, HostedDomain, check_contact
from portal.tenancy.schema.client import (
    ClientFile,
    IdTokenEncryptionOption,
    Tls,
    TlsFile,
    check_endpoint_origins,
)
from portal.tenancy.schema.preset import (
    PresetName,
    check_generic_issuer,
    check_issuer_of_preset,
    defaults_of_preset,
    preset_of,
)
from portal.tenancy.schema.requested_claims import RequestedClaimsFile
from portal.tenancy.schema.requests import (
    Algorithm,
    PushedRequests,
    RequestedClaims,
    RequestObject,
    ResponseAlgorithms,
    ResponseModeOption,
    StepUpScopes,
)
from portal.tenancy.schema.tokens import Dpop, TenantIds, UserInfo, UserInfoAlgorithms

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


_SEPARATE_KEYS = {
    "scope": "scopes",
    "audience": "audience",
    "resource": "resources",
    "max_age": "max_age",
    "claims": "requested_claims",
    "response_mode": "response_mode",
}


def _check_param_name(name: str) -> str:
    if name in _SEPARATE_KEYS:
        raise refused(f'has a separate key: write "{_SEPARATE_KEYS[name]}" next to authorize_params')
    if name in _SECURITY_PARAMS:
        raise refused("is set by the portal to protect the login and cannot be set here")
    return name


def _with_openid(scopes: list[str]) -> list[str]:
    # OIDC Core 3.1.2.1: without openid, the request is not an authentication request.
    if "openid" not in scopes:
        raise refused('lacks "openid", which every sign-in needs; add it')
    return scopes


FreeParamName = Annotated[ParamName, AfterValidator(_check_param_name)]


Scopes = Annotated[list[ScopeToken], Field(max_length=100), AfterValidator(_with_openid)]


class EndpointsFile(FileModel):
    """Endpoints that override the provider's metadata."""

    authorization: OutboundUrl | None = Field(default=None, description="The authorization endpoint.")
    token: OutboundUrl | None = Field(default=None, description="The token endpoint.")
    jwks: OutboundUrl | None = Field(
        default=None, description="The URL of the provider's key set (jwks_uri)."
    )
    userinfo: OutboundUrl | None = Field(default=None, description="The UserInfo endpoint.")
    end_session: OutboundUrl | None = Field(
        default=None, description="The logout endpoint (end_session_endpoint)."
    )
    revocation: OutboundUrl | None = Field(
        default=None, description="The token revocation endpoint (RFC 7009)."
    )
    pushed_authorization_request: OutboundUrl | None = Field(
        default=None, description="The pushed authorization request endpoint (RFC 9126)."
    )


class LogoutFile(FileModel):
    """Logout at a provider that does not follow the standard."""

    url: LogoutTemplate | None = Field(
        default=None,
        description=(
            "A logout URL with the placeholders {client_id} and {return_to}, for providers without the "
            "standard endpoint or with a non-standard one. It overrides the standard endpoint."
        ),
        examples=["https://login.example.com/logout?client_id={client_id}&next={return_to}"],
    )
    id_token_hint: bool = Field(
        default=True,
        description=(
            "Whether the portal sends id_token_hint to the standard endpoint. Write false for a provider "
            "that refuses ID tokens signed with a key that it has since replaced."
        ),
    )


class ProviderFile(FileModel):
    """One registration at an OpenID provider."""

    label: Name | None = Field(
        default=None,
        description="The name of this provider on the sign-in page of a tenant with several.",
        examples=["Staff"],
    )
    preset: PresetName = Field(
        default=DEFAULT,
        description=(
            "The kind of provider; sets defaults for issuer, scopes, client auth and logout, and any other "
            "key of a provider. `portal preset list` prints the names."
        ),
        examples=["keycloak"],
    )
    fields: dict[ParamName, SealableText] = Field(
        default_factory=dict,
        max_length=12,
        description=(
            "Values that the preset asks for and that have no key of their own, by name. "
            "`portal preset show` lists them."
        ),
        examples=[{"directory_id": "72f988bf-86f1-41af-91ab-2d7cd011db47"}],
    )
    domain: ProviderDomain | None = Field(
        default=None,
        description="The provider's domain, from which the preset derives the issuer. Alternative to issuer.",
        examples=["acme.eu.auth0.com"],
    )
    issuer: IssuerUrl | None = Field(
        default=None,
        description="The exact issuer identifier, including a trailing slash. Alternative to domain.",
        examples=["https://login.example.com/realms/acme"],
    )
    client: ClientFile = Field(description="The portal's client registration at the provider.")
    audience: Text | None = Field(
        default=None,
        description="The API that access tokens are intended for, sent as audience (Auth0).",
        examples=["https://api.acme.example"],
    )
    resources: list[OutboundUrl] = Field(
        default_factory=list,
        max_length=20,
        description=(
            "The APIs that access tokens are requested for, sent as resource (RFC 8707). The access token is "
            "for the first; a tenant cannot have several APIs yet."
        ),
    )
    scopes: Scopes | None = Field(
        default=None,
        description="The requested scopes; must contain openid. Default: set by the preset.",
        examples=[["openid", "profile", "email", "offline_access", "read:orders"]],
    )
    step_up_scopes: StepUpScopes = Field(default_factory=list)
    authorize_params: dict[FreeParamName, SealableText] = Field(
        default_factory=dict,
        max_length=30,
        description=(
            "Additional parameters of the authorization request, such as prompt, organization, connection, "
            "login_hint, acr_values or ui_locales. Some providers grant offline_access only with prompt: "
            "consent. Parameters that protect the login cannot be set."
        ),
        examples=[{"organization": "org_acme", "ui_locales": "de en"}],
    )
    discovery: bool = Field(
        default=True,
        description=(
            "Whether the portal reads endpoints from the issuer's metadata. If false, endpoints needs at "
            "least authorization, token and jwks."
        ),
    )
    endpoints: EndpointsFile = Field(
        default_factory=EndpointsFile, description="Endpoints that override the provider's metadata."
    )
    id_token_algs: list[Algorithm] = Field(
        default=["RS256"],
        min_length=1,
        max_length=13,
        description="Algorithms with which this provider may sign ID tokens; HS256 needs a client secret.",
    )
    max_age: Duration | None = Field(
        default=None,
        description="The maximum age of the user's authentication; 0s requires a new one at each sign-in.",
    )
    acr_values: list[ScopeToken] = Field(
        default_factory=list,
        max_length=20,
        description="The requested authentication context classes, in order of preference.",
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
        description="Logout at a provider that does not follow the standard.",
    )
    global_token_revocation: bool = Field(
        default=False,
        description=(
            "Whether this provider may end all logins of a user at /t/{tenant}/global-token-revocation, by a "
            "request that it signs with its keys (Global Token Revocation; Universal Logout of Okta)."
        ),
    )
    hosted_domain: HostedDomain = None
    access: AccessOption = None

    @model_validator(mode="before")
    @classmethod
    def _read_defaults(cls, written: object, info: ValidationInfo) -> object:
        return defaults_of_preset(written, info)

    @model_validator(mode="after")
    def _check_keys_together(self, info: ValidationInfo) -> ProviderFile:
        preset = preset_of(self.preset, info)
        preset.check_fields(self.fields)
        check_issuer_of_preset(preset, self.domain, self.issuer, info)
        found = preset.issuer(self.domain, self.issuer, self.fields)
        issuer = outbound_url(found, info, key="domain")
        if preset.name == DEFAULT:
            check_generic_issuer(issuer, info, key="issuer" if self.issuer else "domain")
        # The values of the cached properties; private attributes of pydantic take 3 µs to read.
        self.__dict__["kind"], self.__dict__["determined_issuer"] = preset, issuer
        self._check_scopes(preset)
        check_endpoint_origins(self.client, self.endpoints, issuer, preset)
        if not self.discovery and not (
            self.endpoints.authorization and self.endpoints.token and self.endpoints.jwks
        ):
            raise refused(
                "is false, which needs endpoints with authorization, token and jwks", key="discovery"
            )
        for key in ("id_token_algs", "response_algs", "userinfo_algs"):
            if self.client.secret is None and any(alg.startswith("HS") for alg in getattr(self, key) or ()):
                raise refused("lists an HS algorithm, which needs a client secret", key=key)
        self._check_userinfo(preset)
        self._check_tenant_ids(shared=preset.issuer_template(issuer) is not None)
        if self.acr_values and "acr_values" in self.authorize_params:
            raise refused("is also in authorize_params; keep one of the two", key="acr_values")
        self._check_access(preset)
        return self

    @cached_property
    def kind(self) -> Preset:
        """The preset."""
        raise AttributeError("kind is set by the validation")

    @cached_property
    def determined_issuer(self) -> str:
        """The issuer, from this file or its preset."""
        raise AttributeError("determined_issuer is set by the validation")

    def _check_access(self, preset: Preset) -> None:
        if self.hosted_domain is not None and "hosted_domain" not in preset.fields:
            raise refused("is only valid with preset google", key="hosted_domain")
        if self.hosted_domain is not None and "hd" in self.authorize_params:
            raise refused("is also in authorize_params as hd; remove hd there", key="hosted_domain")
        if self.hosted_domain is None:
            check_contact(self.access)
        elif self.access is not None and not self.access.model_fields_set:
            raise refused("is anyone, but hosted_domain restricts sign-in; keep one of the two", key="access")

    def _check_userinfo(self, preset: Preset) -> None:
        preset.check_userinfo(self.userinfo, self.scopes or ())
        if self.userinfo_algs and not self.userinfo:
            raise refused("has no effect without userinfo: true", key="userinfo_algs")
        if self.userinfo and not self.discovery and not self.endpoints.userinfo:
            raise refused("is true, which needs endpoints with userinfo", key="userinfo")

    def _check_tenant_ids(self, *, shared: bool) -> None:
        if shared and self.tenant_ids is None:
            remedy = "list the ids of the directories whose users may sign in, or write any for all"
            raise refused(f"is missing, but all directories share this issuer: {remedy}", key="tenant_ids")
        if self.tenant_ids is not None and not shared:
            raise refused(
                "is only valid with preset entra and domain: organizations or common", key="tenant_ids"
            )

    def _check_scopes(self, preset: Preset) -> None:
        for scope in frozenset(preset.unsupported_scopes).intersection(self.scopes or ()):
            raise refused(f'has "{scope}", which {preset.title} does not support; remove it', key="scopes")
        for scope in self.step_up_scopes:
            if scope in (preset.scopes if self.scopes is None else self.scopes):
                raise refused(f'has "{scope}", which every sign-in requests; remove it', key="step_up_scopes")
            if scope in preset.unsupported_scopes:
                raise refused(
                    f'has "{scope}", which {preset.title} does not support; remove it', key="step_up_scopes"
                )
