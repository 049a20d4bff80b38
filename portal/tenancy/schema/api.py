"""Keys of a tenant file about its API."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field, model_validator

from portal.config.field_types import ApiPath, BaseUrl, Duration, refused
from portal.config.secret_references import PemFile
from portal.config.validation import FileModel
from portal.tenancy.schema.client import ClientFile, TlsFile

_SHORTEST_WAIT = 1.0
_LONGEST_WAIT = 3600.0


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
    timeout: Duration = Field(
        default=60.0,
        description=(
            "How long the API may take until the head of its response is there, from the end of the request "
            "on: 1s to 1h. After that, the call gets 504."
        ),
        json_schema_extra={"default": "60s"},
    )
    idle_timeout: Duration = Field(
        default=60.0,
        description=(
            "How long the API may pause between two bytes of its response, and while it takes the body of a "
            "request: 1s to 1h. After that, the call is cut off. An event stream has to send something, such "
            "as a comment, more often."
        ),
        json_schema_extra={"default": "60s"},
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
    def _waits_in_bounds(self) -> ApiFile:
        for key, value in (("timeout", self.timeout), ("idle_timeout", self.idle_timeout)):
            if not _SHORTEST_WAIT <= value <= _LONGEST_WAIT:
                raise refused("must be from 1s to 1h", key=key)
        return self

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
