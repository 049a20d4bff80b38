"""Keys of a tenant file about its API."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field, model_validator

from portal.config.field_types import ApiPath, BaseUrl, refused
from portal.config.secret_references import PemFile
from portal.config.validation import FileModel
from portal.tenancy.schema.client import ClientFile, TlsFile


class ApiTlsFile(TlsFile):
    """How connections to the API are made."""

    ca: PemFile | None = Field(
        default=None,
        description=(
            "Certificate authorities of this API, in place of the system's: file:/path of a PEM file. It is "
            "read again when it changes."
        ),
    )


class ApiFile(FileModel):
    """The tenant's API."""

    base_url: BaseUrl = Field(
        description="Where the API is; paths of calls are added to it.",
        examples=["https://api.acme.example/v1"],
    )
    example_paths: list[ApiPath] = Field(
        default_factory=list, max_length=20, description="Paths that the tenant's page offers to try."
    )
    mtls: bool = Field(
        default=False,
        description=(
            "Whether calls present client.certificate of the provider that the user signed in at, for access "
            "tokens that are bound to it (RFC 8705, section 3)."
        ),
    )
    tls: ApiTlsFile = Field(
        default_factory=ApiTlsFile,
        description="How connections to the API are made, when not as usual.",
    )

    @model_validator(mode="after")
    def _tls_is_used(self) -> ApiFile:
        needs_https = {"mtls": self.mtls, "tls": self.tls.ca is not None}
        if not self.base_url.lower().startswith("https:"):
            for key in (key for key, given in needs_https.items() if given):
                raise refused("has no effect without an https base_url", key=key)
        return self


def check_certificates(api: ApiFile | None, clients: Iterable[ClientFile]) -> None:
    """Refuse `api.mtls` where no provider has a certificate to present."""
    if api is not None and api.mtls and not any(client.certificate for client in clients):
        raise refused("has mtls: true, and no client has a certificate; add client.certificate", key="api")
