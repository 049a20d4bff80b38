"""Keys of a tenant file about its APIs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from pydantic import Field, model_validator

from portal.config.field_types import (
    ApiPath,
    BaseUrl,
    Duration,
    HeaderName,
    ResourceUri,
    ScopeToken,
    Size,
    Text,
    refused,
)
from portal.config.secret_references import PemFile
from portal.config.validation import FileModel
from portal.tenancy import api_headers
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
    """An API of the tenant."""

    base_url: BaseUrl = Field(
        description="The base URL of the API; the portal appends the path of each call.",
        examples=["https://api.acme.example/v1"],
    )
    audience: Text | None = Field(
        default=None,
        description=(
            "What access tokens for this API must be for, if it is not what the login's access token is for. "
            "The claim aud of a token must contain it, where the portal can read the token."
        ),
        examples=["https://billing.acme.example"],
    )
    resource: ResourceUri | None = Field(
        default=None,
        description="As audience, for providers with resource indicators (RFC 8707). Not both.",
        examples=["https://billing.acme.example"],
    )
    scopes: list[ScopeToken] = Field(
        default_factory=list,
        max_length=50,
        description="The scopes that access tokens for this API are requested with.",
        examples=[["read:invoices"]],
    )
    access: Literal["user", "anonymous", "client"] = Field(
        default="user",
        description=(
            "Whose calls the API gets. user: of users who are signed in, with their access token. anonymous: "
            "of anybody on the portal's pages, without a token. client: of anybody on the portal's pages, "
            "with an access token that the portal gets for itself (client credentials) from the first "
            "provider; the API then shows everybody the same."
        ),
    )
    token: Literal["auto", "shared", "refresh", "exchange", "login"] = Field(
        default="auto",
        description=(
            "How the portal gets the user's access token for this API. shared: the one of the login. "
            "refresh: with the refresh token. exchange: by token exchange (RFC 8693). login: by one more "
            "login, which the page starts. auto: shared if audience, resource and scopes are those of the "
            "login or not given, and there are no step_up_scopes; else what the preset says, or what works."
        ),
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
    max_body: Size | None = Field(
        default=None,
        description="The largest body of a request; a larger one gets 413. Default: 1024GB.",
    )
    request_headers: list[HeaderName] = Field(
        default_factory=list,
        max_length=20,
        description=(
            "Headers of the browser that this API gets although the portal drops them by default: Referer, "
            "Sec-GPC and client hints (Sec-CH-…)."
        ),
        examples=[["Referer"]],
    )
    response_headers: list[HeaderName] = Field(
        default_factory=list,
        max_length=20,
        description=(
            "Headers of this API's responses that browsers get although the portal drops them by default: "
            "Content-Location, Server and X-Powered-By."
        ),
        examples=[["Content-Location"]],
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

    @model_validator(mode="after")
    def _check_target(self) -> ApiFile:
        if self.audience is not None and self.resource is not None:
            raise refused('conflicts with "audience"; keep one of the two', key="resource")
        if self.access != "user":
            self._check_without_user()
        elif self.token == "shared" and self.scopes:  # noqa: S105 - not a password
            raise refused(
                "has no effect with token: shared, the access token of the login; remove it", key="scopes"
            )
        elif self.token not in {"auto", "shared"} and not self._selects_tokens:
            raise refused(
                f"has no effect without audience, resource or scopes: {self.token} what?", key="token"
            )
        return self

    def _check_without_user(self) -> None:
        """Refuse keys without effect. `audience` and `resource` are only warned about: they may document."""
        without = {"token": self.token != "auto"}  # noqa: S105
        if self.access == "anonymous":
            without |= {"scopes": bool(self.scopes), "mtls": self.mtls}
        for key in (key for key, given in without.items() if given):
            raise refused(f"has no effect with access: {self.access}; remove it", key=key)

    @model_validator(mode="after")
    def _check_headers(self) -> ApiFile:
        _check_names(
            "request_headers", self.request_headers, api_headers.goes_to_api, api_headers.may_go_to_api
        )
        _check_names(
            "response_headers",
            self.response_headers,
            api_headers.goes_to_browser,
            api_headers.may_go_to_browser,
        )
        return self

    @property
    def _selects_tokens(self) -> bool:
        return bool(self.audience or self.resource or self.scopes)


class NamedApiFile(ApiFile):
    """A further API of the tenant, below its name."""

    step_up_scopes: list[ScopeToken] = Field(
        default_factory=list,
        max_length=50,
        description=(
            "Scopes that access tokens for this API get when it asks for one of them with insufficient_scope "
            "(RFC 6750). It may ask for these and scopes only, and always gets access tokens of its own. An "
            "API that gets the access token of the login may ask for those of the provider."
        ),
        examples=[["delete:invoices"]],
    )

    @model_validator(mode="after")
    def _check_step_up_scopes(self) -> NamedApiFile:
        if not self.step_up_scopes:
            return self
        if self.access != "user":
            raise refused(f"has no effect with access: {self.access}; remove it", key="step_up_scopes")
        if self.token == "shared" or not self._selects_tokens:  # noqa: S105 - not a password
            raise refused(
                "has no effect for an API that gets the access token of the login; add the scopes to "
                "step_up_scopes of the provider",
                key="step_up_scopes",
            )
        for scope in self.step_up_scopes:
            if scope in self.scopes:
                raise refused(
                    f'has "{scope}", which every access token of this API is requested with; remove it',
                    key="step_up_scopes",
                )
        return self


def _check_names(
    key: str, names: Iterable[str], passes: Callable[[str], bool], may_pass: Callable[[str], bool]
) -> None:
    """Refuse names of headers that pass anyway, and those that must not pass."""
    for name in map(api_headers.normalized_name, names):
        if may_pass(name):
            continue
        if passes(name):
            raise refused("has a header that passes without being listed; remove it", key=key)
        raise refused(
            "has a header that never passes: it carries credentials or addresses, belongs to the portal or "
            "to one connection, or decides what pages of the portal may do; remove it",
            key=key,
        )


def check_apis(api: ApiFile | None, apis: Mapping[str, ApiFile], clients: Iterable[ClientFile]) -> None:
    """Refuse what no client can do: `mtls` without a certificate, `access: client` without authentication."""
    clients = list(clients)
    for key, one in (("api", api), *((f"apis.{name}", one) for name, one in apis.items())):
        if one is None:
            continue
        top = key.partition(".")[0]
        if one.mtls and not any(client.certificate for client in clients):
            raise refused("has mtls: true, but no client has a certificate; add client.certificate", key=top)
        if one.access == "client" and clients[0].auth == "none":
            raise refused(
                "has access: client, but the client of the first provider does not authenticate (auth: none)",
                key=top,
            )
