"""The token endpoint: a code for tokens, a refresh token for newer ones (RFC 6749 4.1.3, 5 and 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from http.client import responses

from portal.display_text import display_text
from portal.oidc.authorization import requested_scopes
from portal.oidc.client_authentication import AuthenticateClient, Credentials, assertion_audience, credentials
from portal.oidc.dpop import USE_DPOP_NONCE, DpopProver
from portal.oidc.errors import TokenRequestRejected, TokenResponseMalformed
from portal.oidc.jose.json_reading import JsonUnreadable, read_object
from portal.oidc.provider import Provider, ProviderMetadata, TokenSet
from portal.oidc.provider_call import WRITE_SECONDS, post_form
from portal.oidc.provider_errors import LONGEST_DESCRIPTION, error_code, without
from portal.oidc.quoting import address, perhaps_encoded_twice
from portal.oidc.token_response import read_refreshed, read_token_set
from portal.outbound.client import OutboundClient, OutboundResponse
from portal.outbound.tls import Tls
from portal.secret import Secret

REFRESH_SECONDS = 120.0
"""How long a refresh request is waited for once it is sent: the provider may have replaced the refresh token,
and its response is the only place where the new one is."""

NO_BODY = "empty_response"
"""In place of the error code of a 400 without any body, by which Glewlwyd refuses a refresh token."""
_STATUSES = frozenset({400, 401, 403})
"""Of OAuth errors: RFC 6749 5.2, and 403, with which Auth0 refuses a refresh token."""
_REGISTERED_ERRORS = frozenset(
    (
        *("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client"),
        *("unsupported_grant_type", "invalid_scope", "invalid_target", "unsupported_token_type"),
    )
)
"""RFC 6749 5.2, RFC 8707 2, RFC 7009 2.2.1. What is none of them may be what was sent."""


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
) -> TokenSet:
    """Trade a code for tokens, once: whatever goes wrong, the request is not repeated.

    The one exception is a server that wants its nonce in the proof first: it has not looked at the code.

    Parameters: now, seconds since the epoch, UTC, before the request; dpop_prover, the key that the tokens
    are to be bound to (RFC 9449 5); prove, makes the client's credentials.
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
        error.detail += perhaps_encoded_twice("code", code)
        raise
    key = dpop_prover.key if dpop_prover else None
    return read_token_set(response, asked=requested_scopes(provider), now=now, dpop_key=key)


async def refresh(
    http: OutboundClient,
    provider: Provider,
    metadata: ProviderMetadata,
    tokens: TokenSet,
    *,
    now: float,
    dpop_prover: DpopProver | None = None,
    authenticate_client: AuthenticateClient = credentials,
) -> TokenSet:
    """Trade the refresh token for new tokens; a refresh token that is not replaced is kept.

    No scope is sent: what was granted stays granted, and is never widened. When the response cannot be
    used, TokenResponseMalformed has the refresh token that it held: the old one may be spent.
    Parameters and errors: as exchange_code; `invalid_grant` means that the refresh token is spent.
    """
    if tokens.refresh_token is None:
        raise TokenRequestRejected("invalid_grant", "there is no refresh token")
    fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens.refresh_token.reveal()),
        *_resource(provider),
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
    """The API that the access token is for: one of those authorized, as a server may refuse several here."""
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
) -> OutboundResponse:
    """POST a form with the client's credentials; the response's status is 2xx.

    Parameters: token_endpoint, of the provider, which an assertion may have to name; secrets, what must not
    come back in an error; prove, makes the credentials of each request; dpop_prover, the key to prove with
    each request, and once more when the server wants its nonce; seconds, how long each request may take.
    Raises: TokenRequestRejected, TokenResponseMalformed, ClientKeyMissing, OutboundRefused,
    ProviderUnavailable.
    """
    authenticate = partial(
        authenticate_client, provider, audience=assertion_audience(provider, url, token_endpoint)
    )
    send = partial(
        _post,
        http,
        provider,
        url,
        fields,
        authenticate_client=authenticate,
        dpop_prover=dpop_prover,
        seconds=seconds,
    )
    response, proof = await send()
    if dpop_prover is not None and dpop_prover.learn(url, response.header_list) and _wants_nonce(response):
        # RFC 9449 8: with new credentials too, as an assertion is good for one request
        response, proof = await send()
        dpop_prover.learn(url, response.header_list)
    if 200 <= response.status < 300 and not _is_refusal(response):
        return response
    if 300 <= response.status < 400:
        detail = f"{address(url)} responded with {response.status}; expected 200 and tokens"
        raise TokenResponseMalformed(detail)
    sent = [secret.reveal() for secret in secrets]
    if provider.client_secret is not None:
        sent.append(provider.client_secret.reveal())
    sent += proof.secrets()
    raise _rejection(url, response, sent)


async def _post(
    http: OutboundClient,
    provider: Provider,
    url: str,
    fields: Sequence[tuple[str, str]],
    *,
    authenticate_client: Callable[[], Credentials],
    dpop_prover: DpopProver | None,
    seconds: float,
) -> tuple[OutboundResponse, Credentials]:
    """Send a form once; the response, and what proved the client."""
    proof = authenticate_client()
    given = {name for name, _ in fields}
    form = [*fields, *(field for field in proof.fields if field[0] not in given)]  # RFC 6749 3.2: once each
    tls = Tls(provider.tls_authorities, provider.client_certificate)  # RFC 8705 2 and 3
    headers = [*proof.headers]
    if dpop_prover is not None:
        headers.append(("DPoP", dpop_prover.proof("POST", url)))
    response = await post_form(
        http, url, form, tenant=provider.tenant, headers=headers, tls=tls, seconds=seconds
    )
    return response, proof


def _wants_nonce(response: OutboundResponse) -> bool:
    """Whether a request was refused only for its proof's lack of a current nonce (RFC 9449 8)."""
    if response.status not in {400, 401}:
        return False
    try:
        return read_object(response.body).get("error") == USE_DPOP_NONCE
    except JsonUnreadable:
        return False


def _rejection(url: str, response: OutboundResponse, sent: Sequence[str]) -> TokenRequestRejected:
    """RFC 6749 5.2, with nothing in it that was sent."""
    responded = f"{address(url)} responded with {response.status}"
    if response.status == 400 and not response.body:
        return TokenRequestRejected(NO_BODY, f"{responded} with an empty body; expected an error code")
    try:
        document = read_object(response.body)
    except JsonUnreadable:
        return TokenRequestRejected("unknown_error", f"{responded} without JSON")
    stated = document.get("error")
    known = not isinstance(stated, str) or stated in _REGISTERED_ERRORS
    error = error_code(stated if known else without(sent, str(stated)))
    detail = f"{responded}, error={error}"
    if error not in _REGISTERED_ERRORS and _is_of_the_server(response.status, error):
        error = "unknown_error"
    description = document.get("error_description")
    if isinstance(description, str):
        detail += f": {display_text(without(sent, description), LONGEST_DESCRIPTION)}"
    return TokenRequestRejected(error, detail)


def _is_of_the_server(status: int, error: str) -> bool:
    """Whether an error code is what a web server or gateway says of itself: its status, once more in words.

    Frameworks answer `{"status": 404, "error": "Not Found"}` while the provider behind them is deployed.
    """
    phrase = responses.get(status, "").lower()
    as_words = error.replace("_", " ").replace("-", " ").lower()
    return as_words == phrase or (status >= 300 and status not in _STATUSES)


def _is_refusal(response: OutboundResponse) -> bool:
    """Whether a response is an error in the dress of a success."""
    try:
        document = read_object(response.body)
    except JsonUnreadable:
        return False
    return "error" in document and "access_token" not in document
