"""The schema of a tenant file. Editors and the reference page show these descriptions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from portal.config.claim_rules import MAX_ACCOUNTS, AccountFile
from portal.config.field_types import EmailDomain, HostName, LinkUrl, Name, Slug, refused
from portal.config.load_context import LoadContext
from portal.config.validation import FileModel
from portal.oidc.api_target import MAX_APIS
from portal.tenancy.schema.access import AccessOption, check_contact, check_path_apis
from portal.tenancy.schema.api import ApiFile, NamedApiFile, check_apis
from portal.tenancy.schema.forward_auth import ForwardAuthFile, check_forward_auth
from portal.tenancy.schema.front_end import FrontEndOption, check_hosts
from portal.tenancy.schema.organisation import BrandingFile, ClaimsFile, LinkFile, SessionFile
from portal.tenancy.schema.provider import ProviderFile

SCHEMA_NAME = "tenant.schema.json"
ONLY_PROVIDER = "default"
"""Id of the provider of a tenant file without `providers`."""


def _of_the_operator(domains: list[str], info: ValidationInfo) -> list[str]:
    if domains and isinstance(info.context, LoadContext) and info.context.open_sealed is not None:
        raise refused("only the operator can set this, in a tenant file")
    return domains


SharedEmailDomains = Annotated[list[EmailDomain], AfterValidator(_of_the_operator)]


class TenantBase(FileModel):
    """Keys of the organisation, independent of its providers."""

    name: Name = Field(
        description="The organisation's name, as shown to users.", examples=["Acme Corporation"]
    )
    api: ApiFile | None = Field(
        default=None,
        description=(
            "The tenant's default API, which the portal calls with the user's access token at "
            "/t/{tenant}/api/."
        ),
    )
    apis: dict[Slug, NamedApiFile] = Field(
        default_factory=dict,
        max_length=MAX_APIS,
        description=(
            "Further APIs by a short name, with the keys of api, at /t/{tenant}/apis/{name}/. Each may "
            "need an access token of its own."
        ),
    )
    hosts: list[HostName] = Field(
        default_factory=list,
        max_length=20,
        description="Host names of the portal that only this tenant uses.",
        examples=[["portal.acme.example"]],
    )
    email_domains: list[EmailDomain] = Field(
        default_factory=list,
        max_length=200,
        description="E-mail domains by which users find this tenant.",
        examples=[["acme.example"]],
    )
    shared_email_domains: SharedEmailDomains = Field(
        default_factory=list,
        max_length=200,
        description=(
            "E-mail domains by which users find this tenant beside others that have them: they choose. Only "
            "in tenant files, because only the operator can vouch that the tenants belong together."
        ),
        examples=[["group.example"]],
    )
    listed: bool = Field(
        default=True,
        description=(
            "Whether the start page lists this tenant or finds it by its name. If not, users need its link, "
            "or an e-mail address of its domains."
        ),
    )
    front_end: FrontEndOption = Field(
        default=None, description="The tenant's own application, at / of its `hosts`."
    )
    branding: BrandingFile = Field(
        default_factory=BrandingFile, description="The appearance of the tenant in the portal."
    )
    home_url: LinkUrl | None = Field(
        default=None,
        description=(
            "The organisation's main application, to which its page in the portal leads: an https URL, or a "
            "path of the portal."
        ),
        examples=["https://desk.acme.example/"],
    )
    links: list[LinkFile] = Field(
        default_factory=list,
        max_length=20,
        description="Further applications on the organisation's page in the portal.",
    )
    claims: ClaimsFile = Field(default_factory=ClaimsFile, description="Which claims the portal shows.")
    session: SessionFile = Field(default_factory=SessionFile, description="The maximum lifetime of a login.")
    forward_auth: ForwardAuthFile = Field(
        default_factory=ForwardAuthFile,
        description=(
            "What applications behind the operator's reverse proxy, on the portal's host, learn of a user "
            "who is signed in here."
        ),
    )
    access: AccessOption = None
    admins: list[AccountFile] = Field(
        default_factory=list,
        max_length=MAX_ACCOUNTS,
        description=(
            "Who may change this tenant in the console at /admin/: users who are signed in here and whose "
            "claims meet one of these rules."
        ),
    )

    @model_validator(mode="after")
    def _check_front_end(self) -> Self:
        check_hosts(self.front_end, self.hosts)
        return self

    def _check_admins(self, providers: Collection[str]) -> None:
        if any(one.provider not in (None, *providers) for one in self.admins):
            raise refused("has an entry whose provider is not a provider of this tenant", key="admins")


class OneProviderTenantFile(ProviderFile, TenantBase):
    """A tenant with one provider, whose keys are at the top level."""

    @model_validator(mode="after")
    def _check_certificate(self) -> OneProviderTenantFile:
        check_apis(self.api, self.apis, [self.client])
        check_path_apis(self.access, _user_apis(self))
        check_forward_auth(self.forward_auth, dpop=self.dpop)
        self._check_admins((ONLY_PROVIDER,))
        return self


class ManyProvidersTenantFile(TenantBase):
    """A tenant with several providers; the user chooses."""

    providers: dict[Slug, ProviderFile] = Field(
        min_length=1,
        max_length=20,
        description="The providers by a short name, which is the last part of their redirect URI.",
    )

    @model_validator(mode="after")
    def _check_contact(self) -> ManyProvidersTenantFile:
        check_contact(self.access)
        return self

    @model_validator(mode="after")
    def _check_certificates(self) -> ManyProvidersTenantFile:
        check_apis(self.api, self.apis, [provider.client for provider in self.providers.values()])
        for access in (self.access, *(provider.access for provider in self.providers.values())):
            check_path_apis(access, _user_apis(self))
        check_forward_auth(self.forward_auth, dpop=any(one.dpop for one in self.providers.values()))
        self._check_admins(self.providers)
        return self


def _user_apis(file: TenantBase) -> frozenset[str]:
    """The names of the APIs under `apis` whose callers are signed in."""
    return frozenset(name for name, api in file.apis.items() if api.access == "user")


def model_for(root: object) -> type[OneProviderTenantFile] | type[ManyProvidersTenantFile]:
    """Return the model for a tenant file: with or without `providers`."""
    several = isinstance(root, dict) and "providers" in root
    return ManyProvidersTenantFile if several else OneProviderTenantFile
