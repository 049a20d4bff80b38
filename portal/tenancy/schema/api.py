"""Keys of a tenant file about its API."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field, model_validator

from portal.config.field_types import ApiPath, BaseUrl, Duration, refused
from portal.config.secret_references import PemFile
from portal.config.validation import FileModel
from portal.tenancy.schema.client import ClientFile, TlsFile

_MIN_TIMEOUT = 1.0
_MAX_TIMEOUT = 3600.0


class ApiTlsFile(TlsFile):
    """TLS settings for connections to the API."""

    ca: PemFile | None = Field(
        default=None,
        description=(
            "Certificate authorities for this API instead of the system's: file:/path of a PEM file. The "
            "portal reloads the file when it changes."
        ),
    )


class ApiFile(FileModel):
    """The tenant's API."""

    base_url: BaseUrl = Field(
        description="The base URL of the API; the portal appends the path of each call.",
        examples=["https://api.acme.example/v1"],
    )
    example_paths: list[ApiPath] = Field(
        default_factory=list, max_length=20, description="Paths that the tenant's page offers as examples."
    )
    timeout: Duration = Field(
        default=60.0,
        description=(
            "How long the API may take from the end of the request until the head of its response is "
            "complete: 1s to 1h. After that, the portal responds with 504."
        ),
        json_schema_extra={"default": "60s"},
    )
    idle_timeout: Duration = Field(
        default=60.0,
        description=(
            "How long the API may pause while it sends its response or receives the body of a request: 1s "
            "to 1h. After that, the portal closes the connection. An event stream must send something, such "
            "as a comment, more often."
        ),
        json_schema_extra={"default": "60s"},
    )
    mtls: bool = Field(
        default=False,
        description=(
            "Whether calls present the client.certificate of the provider that the user signed in with, for "
            "certificate-bound access tokens (RFC 8705, section 3)."
        ),
    )
    tls: ApiTlsFile = Field(
        default_factory=ApiTlsFile,
        description="TLS settings for connections to the API.",
    )

    @model_validator(mode="after")
    def _check_timeouts(self) -> ApiFile:
        for key, value in (("timeout", self.timeout), ("idle_timeout", self.idle_timeout)):
            if not _MIN_TIMEOUT <= value <= _MAX_TIMEOUT:
                raise refused("must be between 1s and 1h", key=key)
        return self

    @model_validator(mode="after")
    def _check_https(self) -> ApiFile:
        needs_https = {"mtls": self.mtls, "tls": self.tls.ca is not None}
        if not self.base_url.lower().startswith("https:"):
            for key in (key for key, given in needs_https.items() if given):
                raise refused("has no effect without an https base_url", key=key)
        return self


def check_certificates(api: ApiFile | None, clients: Iterable[ClientFile]) -> None:
    """Refuse `api.mtls` where no provider has a certificate to present."""
    if api is not None and api.mtls and not any(client.certificate for client in clients):
        raise refused("has mtls: true, but no client has a certificate; add client.certificate", key="api")
