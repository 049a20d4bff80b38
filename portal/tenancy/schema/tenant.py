"""The schema of a tenant file. Editors and the reference page show these descriptions."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import Field, model_validator

from portal.config.claim_rules import MAX_ACCOUNTS, AccountFile
from portal.config.field_types import EmailDomain, HostName, Name, Slug, refused
from portal.config.validation import FileModel
from portal.tenancy.schema.access import AccessOption, check_contact
from portal.tenancy.schema.api import ApiFile, check_certificates
from portal.tenancy.schema.organisation import BrandingFile, ClaimsFile, SessionFile
from portal.tenancy.schema.provider import ProviderFile

SCHEMA_NAME = "tenant.schema.json"
ONLY_PROVIDER = "default"
"""Id of the provider of a tenant file without `providers`."""


class TenantBase(FileModel):
    """Keys of the organisation, independent of its providers."""

    name: Name = Field(
        description="The organisation's name, as shown to users.", examples=["Acme Corporation"]
    )
    api: ApiFile | None = Field(
        default=None, description="The API that the portal calls with the user's access token."
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
    branding: BrandingFile = Field(
        default_factory=BrandingFile, description="The appearance of the tenant in the portal."
    )
    claims: ClaimsFile = Field(default_factory=ClaimsFile, description="Which claims the portal shows.")
    session: SessionFile = Field(default_factory=SessionFile, description="The maximum lifetime of a login.")
    access: AccessOption = None
    admins: list[AccountFile] = Field(
        default_factory=list,
        max_length=MAX_ACCOUNTS,
        description=(
            "Who may change this tenant in the console at /admin/: users who are signed in here and whose "
            "claims meet one of these rules."
        ),
    )

    def _check_admins(self, providers: Collection[str]) -> None:
        if any(one.provider not in (None, *providers) for one in self.admins):
            raise refused("has an entry whose provider is not a provider of this tenant", key="admins")


class OneProviderTenantFile(ProviderFile, TenantBase):
    """A tenant with one provider, whose keys are at the top level."""

    @model_validator(mode="after")
    def _check_certificate(self) -> OneProviderTenantFile:
        check_certificates(self.api, [self.client])
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
        check_certificates(self.api, [provider.client for provider in self.providers.values()])
        self._check_admins(self.providers)
        return self


def model_for(root: object) -> type[OneProviderTenantFile] | type[ManyProvidersTenantFile]:
    """Return the model for a tenant file: with or without `providers`."""
    several = isinstance(root, dict) and "providers" in root
    return ManyProvidersTenantFile if several else OneProviderTenantFile
