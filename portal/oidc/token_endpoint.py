"""Requests to the token endpoint: code exchange and refresh (RFC 6749 4.1.3, 5 and 6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from http.client import responses

import structlog

from portal.display_text import display_text
from portal.oidc.api_target import ApiTokenRequest
from portal.oidc.authorization import requested_scopes
from portal.oidc.client_authentication import (
    AuthenticateClient,
    Credentials,
    assertion_audience,
    authenticates_by_secret,
    credentials,
)
from portal.oidc.dpop import USE_DPOP_NONCE, DpopProver
from portal.oidc.errors import TokenRequestRejected, TokenResponseMalformed
from portal.oidc.jose.json_reading import JsonUnreadable, read_object
from portal.oidc.provider import Provider, ProviderMetadata, TokenSet
from portal.oidc.provider_call import WRITE_SECONDS, post_form
from portal.oidc.provider_errors import LONGEST_DESCRIPTION, advice_about, error_code, redacted
from portal.oidc.quoting import address, double_encoding_remark
from portal.oidc.step_up import StepUp
from portal.oidc.token_response import read_refreshed, read_token_set
from portal.outbound.client import OutboundClient, OutboundResponse
from portal.outbound.tls import Tls
from portal.secret import Secret

REFRESH_SECONDS = 120.0
"""Time-out of a refresh request. It is long because the provider may have rotated the refresh token, and only
its response contains the new one."""

NO_BODY = "empty_response"
"""Error code for a 400 with an empty body, with which Glewlwyd rejects a refresh token."""
_STATUSES = frozenset({400, 401, 403})
"""Status codes of OAuth errors: RFC 6749 5.2, and 403, with which Auth0 rejects a refresh token."""
_REGISTERED_ERRORS = frozenset(
    (
        *("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client"),
        *("unsupported_grant_type", "invalid_scope", "invalid_target", "unsupported_token_type"),
    )
)
"""RFC 6749 5.2, RFC 8707 2, RFC 7009 2.2.1. Unregistered codes may echo a secret: redact them."""
_OF_ACCEPTED_CLIENTS = frozenset(
    {"invalid_grant", "invalid_target", "invalid_scope", "unsupported_token_type"}
)
"""Errors that are found after the client was authenticated."""
_UNAUTHENTICATED_WITH_401 = frozenset({"unauthorized_client", "access_denied", "unknown_error"})
"""With 401: what Keycloak and Auth0 respond to a wrong secret, and a response without an OAuth error."""

_log = structlog.get_logger("portal.oidc")


async def exchange_code(
    http: OutboundClient,
    provider: Provider,
    metadata: ProviderMetadata,
    *,
    code: Secret,
    code_verifier: Secret,
    redirect_uri: str,
    now: float,
    dpop_prover: DpopProver | None = None,
    authenticate_client: AuthenticateClient = credentials,
    step_up: StepUp | None = None,
) -> TokenSet:
    """Exchange a code for tokens. The request is never retried after a failure.

    Exception: when the server requires a DPoP nonce, it has not used the code yet, and the request is sent
    again.

    Parameters: now, seconds since the epoch, UTC, before the request; dpop_prover, for the key that the
    tokens will be bound to (RFC 9449 5); authenticate_client, makes the client's credentials; step_up, what
    the authorization request asked for in addition.
    Raises: TokenRequestRejected, TokenResponseMalformed, TokenNotBound, ClientKeyMissing, OutboundRefused,
    ProviderUnavailable.
    """
    fields = [
        ("grant_type", "authorization_code"),
        ("code", code.reveal()),
        ("redirect_uri", redirect_uri),
        ("code_verifier", code_verifier.reveal()),  # RFC 7636 4.5
        *_resource(provider),
    ]
    try:
        response = await send_form(
            http,
            provider,
            metadata.token_endpoint,
            fields,
            token_endpoint=metadata.token_endpoint,
            secrets=(code, code_verifier),
            authenticate_client=authenticate_client,
            dpop_prover=dpop_prover,
        )
    except TokenRequestRejected as error:
        error.detail += double_encoding_remark("code", code)
        raise
    key = dpop_prover.key if dpop_prover else None
    scopes = requested_scopes(provider, step_up)
    return read_token_set(response, requested_scopes=scopes, now=now, dpop_key=key)


async def refresh(
    http: OutboundClient,
    provider: Provider,
    metadata: ProviderMetadata,
    tokens: TokenSet,
    *,
    now: float,
    dpop_prover: DpopProver | None = None,
    authenticate_client: AuthenticateClient = credentials,
    api: ApiTokenRequest | None = None,
) -> TokenSet:
    """Exchange the refresh token for new tokens; a refresh token that is not rotated is kept.

    No scope is sent, so the granted scopes stay as they are. With `api`, the access token is for that API.
    When the response is unusable, TokenResponseMalformed contains its refresh token, because the old one may
    be invalid now.
    Parameters and errors: as exchange_code; `invalid_grant` means that the refresh token is invalid.
    """
    if tokens.refresh_token is None:
        raise TokenRequestRejected("invalid_grant", "there is no refresh token")
    fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens.refresh_token.reveal()),
        *(_resource(provider) if api is None else api.parameters),
    ]
    response = await send_form(
        http,
        provider,
        metadata.token_endpoint,
        fields,
        token_endpoint=metadata.token_endpoint,
        secrets=(tokens.refresh_token, tokens.access_token),
        authenticate_client=authenticate_client,
        dpop_prover=dpop_prover,
        seconds=REFRESH_SECONDS,
    )
    key = dpop_prover.key if dpop_prover else None
    return read_refreshed(response, tokens, now=now, dpop_key=key)


def _resource(provider: Provider) -> list[tuple[str, str]]:
    """Return the `resource` of the access token: only the first, because servers may reject several."""
    return [("resource", resource) for resource in provider.resources[:1]]  # RFC 8707 2.2


async def send_form(
    http: OutboundClient,
    provider: Provider,
    url: str,
    fields: Sequence[tuple[str, str]],
    *,
    token_endpoint: str,
    secrets: Sequence[Secret],
    authenticate_client: AuthenticateClient = credentials,
    dpop_prover: DpopProver | None = None,
    seconds: float = WRITE_SECONDS,
    endpoint: str = "token",
) -> OutboundResponse:
    """POST a form with the client's credentials. Return a response with a 2xx status.

    When the client has two secrets and the provider refuses the client, the request is sent once more with
    the other secret. The one that is accepted comes first from then on.

    Parameters: token_endpoint, of the provider, a possible audience of the assertion; secrets, values to
    remove from errors; authenticate_client, makes the credentials of each request; dpop_prover, makes the
    DPoP proof of each request (the request is repeated once if the server requires its nonce); seconds,
    time-out of each request; endpoint, its name for the metrics.
    Raises: TokenRequestRejected, TokenResponseMalformed, ClientKeyMissing, OutboundRefused,
    ProviderUnavailable.
    """
    authenticate = partial(
        authenticate_client, provider, audience=assertion_audience(provider, url, token_endpoint)
    )
    send = partial(
        _post, http, provider, url, fields, dpop_prover=dpop_prover, seconds=seconds, endpoint=endpoint
    )
    hidden = [secret.reveal() for secret in (*secrets, *provider.client_secrets)]

    async def attempt(secret: Secret | None) -> tuple[OutboundResponse, TokenRequestRejected | None]:
        with_secret = partial(send, authenticate_client=partial(authenticate, secret=secret))
        response, client_credentials = await _send_with_nonce(with_secret, url, dpop_prover)
        sent = [*hidden, *client_credentials.secrets()]
        return response, _rejection_of(url, response, sent, provider)

    first, *others = (authenticates_by_secret(provider) and provider.client_secrets) or (None,)
    response, rejection = await attempt(first)
    if others and rejection is not None and _refuses_client(rejection, response):
        response, rejection = await attempt(others[0])
        if rejection is None or rejection.error in _OF_ACCEPTED_CLIENTS:
            _note_accepted(provider, others[0])
    if rejection is not None:
        raise rejection
    return response


def _rejection_of(
    url: str, response: OutboundResponse, sent: Sequence[str], provider: Provider
) -> TokenRequestRejected | None:
    """Return the error of a response, None if it has none. Raises: TokenResponseMalformed."""
    if 200 <= response.status < 300 and not _is_refusal(response):
        return None
    if 300 <= response.status < 400:
        detail = f"{address(url)} responded with {response.status}; expected 200 and tokens"
        raise TokenResponseMalformed(detail)
    return _rejection(url, response, sent, provider)


def _refuses_client(rejection: TokenRequestRejected, response: OutboundResponse) -> bool:
    """Whether the client was not authenticated (RFC 6749 5.2): code and refresh token are still unused."""
    if rejection.error == "invalid_client":
        return True
    return response.status == 401 and rejection.error in _UNAUTHENTICATED_WITH_401


def _note_accepted(provider: Provider, secret: Secret | None) -> None:
    """Send this one of two secrets first from now on; say which one the provider has refused."""
    if secret is None:
        return
    provider.accepted_secret(secret)
    refused, accepted = ("second", "first") if secret is provider.client_secret else ("first", "second")
    _log.warning(
        "client_secret_refused",
        tenant=provider.tenant,
        provider=provider.id,
        detail=f"the provider refuses the {refused} client secret and accepts the {accepted} one",
    )


async def _send_with_nonce(
    send: Callable[[], Awaitable[tuple[OutboundResponse, Credentials]]],
    url: str,
    dpop_prover: DpopProver | None,
) -> tuple[OutboundResponse, Credentials]:
    """Send, and repeat once if the server requires its nonce in the DPoP proof (RFC 9449 8)."""
    response, client_credentials = await send()
    if dpop_prover is None:
        return response, client_credentials
    if dpop_prover.store_nonce(url, response.header_list) and _wants_nonce(response):
        # also with new credentials, because an assertion is valid for one request
        response, client_credentials = await send()
        dpop_prover.store_nonce(url, response.header_list)
    return response, client_credentials


async def _post(
    http: OutboundClient,
    provider: Provider,
    url: str,
    fields: Sequence[tuple[str, str]],
    *,
    authenticate_client: Callable[[], Credentials],
    dpop_prover: DpopProver | None,
    seconds: float,
    endpoint: str,
) -> tuple[OutboundResponse, Credentials]:
    """Send a form once. Return the response and the credentials that were sent."""
    client_credentials = authenticate_client()
    names = {name for name, _ in fields}
    # RFC 6749 3.2: each parameter once
    form = [*fields, *(field for field in client_credentials.fields if field[0] not in names)]
    tls = Tls(provider.tls_authorities, provider.client_certificate)  # RFC 8705 2 and 3
    headers = [*client_credentials.headers]
    if dpop_prover is not None:
        headers.append(("DPoP", dpop_prover.proof("POST", url)))
    response = await post_form(
        http,
        url,
        form,
        tenant=provider.tenant,
        endpoint=endpoint,
        headers=headers,
        tls=tls,
        seconds=seconds,
    )
    return response, client_credentials


def _wants_nonce(response: OutboundResponse) -> bool:
    """Whether a request was rejected only because its proof lacks a current nonce (RFC 9449 8)."""
    if response.status not in {400, 401}:
        return False
    try:
        return read_object(response.body).get("error") == USE_DPOP_NONCE
    except JsonUnreadable:
        return False


def _rejection(
    url: str, response: OutboundResponse, sent: Sequence[str], provider: Provider
) -> TokenRequestRejected:
    """Return the error of a response (RFC 6749 5.2), with the sent values removed."""
    responded = f"{address(url)} responded with {response.status}"
    if response.status == 400 and not response.body:
        return TokenRequestRejected(NO_BODY, f"{responded} with an empty body; expected an error code")
    try:
        document = read_object(response.body)
    except JsonUnreadable:
        return TokenRequestRejected("unknown_error", f"{responded} without JSON")
    stated = document.get("error")
    known = not isinstance(stated, str) or stated in _REGISTERED_ERRORS
    error = error_code(stated if known else redacted(str(stated), sent))
    detail = f"{responded}, error={error}"
    if error not in _REGISTERED_ERRORS and _is_http_error(response.status, error):
        error = "unknown_error"
    stated_description = document.get("error_description")
    description = ""
    if isinstance(stated_description, str):
        description = display_text(redacted(stated_description, sent), LONGEST_DESCRIPTION)
        detail += f": {description}"
    return TokenRequestRejected(error, detail + advice_about(provider, error, description))


def _is_http_error(status: int, error: str) -> bool:
    """Whether an error is from a web server or gateway and not an OAuth error: for example its reason phrase.

    Frameworks respond with `{"status": 404, "error": "Not Found"}` while the provider is being deployed.
    """
    phrase = responses.get(status, "").lower()
    as_words = error.replace("_", " ").replace("-", " ").lower()
    return as_words == phrase or (status >= 300 and status not in _STATUSES)


def _is_refusal(response: OutboundResponse) -> bool:
    """Whether a response with a 2xx status contains an error."""
    if b"error" not in response.body and b"\\u" not in response.body:
        return False  # most responses; a name may be written with escapes (RFC 8259 7)
    try:
        document = read_object(response.body)
    except JsonUnreadable:
        return False
    return "error" in document and "access_token" not in document
