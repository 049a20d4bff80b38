"""The token endpoint: a code for tokens, a refresh token for newer ones (RFC 6749 4.1.3, 5 and 6)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from portal.oidc import jws
from portal.oidc.authorization import requested_scopes
from portal.oidc.client_authentication import Credentials, Prove, assertion_audience, credentials
from portal.oidc.dpop import NONCE_WANTED, DpopKey, Possession
from portal.oidc.errors import (
    IdTokenRejected,
    LoginTooLarge,
    TokenNotBound,
    TokenRequestRejected,
    TokenResponseMalformed,
)
from portal.oidc.json_reading import MAX_BYTES, JsonUnreadable, read_object
from portal.oidc.provider import Provider, ProviderMetadata, TokenSet
from portal.oidc.provider_call import WRITE_SECONDS, post_form
from portal.oidc.provider_errors import error_code, shown_text, without
from portal.outbound.client import OutboundClient, OutboundResponse
from portal.outbound.tls import Tls
from portal.secret import Secret

USUAL_LIFETIME = 300.0
"""Seconds, when neither the provider nor the access token says how long it is good."""
LONGEST_LIFETIME = 31_536_000.0
REFRESH_SECONDS = 120.0
"""How long a refresh request is waited for once it is sent: the provider may have replaced the refresh token,
and its response is the only place where the new one is."""

_MOST_CHARACTERS = 65536
_VISIBLE = re.compile(rf"[\x21-\x7e]{{1,{_MOST_CHARACTERS}}}")  # RFC 6750 2.1: it goes into a header
_REGISTERED_ERRORS = frozenset(
    (
        *("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client"),
        *("unsupported_grant_type", "invalid_scope", "invalid_target", "unsupported_token_type"),
    )
)
"""RFC 6749 5.2, RFC 8707 2, RFC 7009 2.2.1. What is none of them may be what was sent."""
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")


async def exchange_code(
    http: OutboundClient,
    provider: Provider,
    metadata: ProviderMetadata,
    *,
    code: Secret,
    code_verifier: Secret,
    redirect_uri: str,
    now: float,
    possession: Possession | None = None,
    prove: Prove = credentials,
) -> TokenSet:
    """Trade a code for tokens, once: whatever goes wrong, the request is not repeated.

    The one exception is a server that wants its nonce in the proof first: it has not looked at the code.

    Parameters: now, seconds since the epoch, UTC, before the request; possession, the key that the tokens
    are to be bound to (RFC 9449 5); prove, makes the client's credentials.
    Raises: TokenRequestRejected, TokenResponseMalformed, TokenNotBound, OwnKeyMissing, OutboundRefused,
    ProviderUnavailable.
    """
    fields = [
        ("grant_type", "authorization_code"),
        ("code", code.reveal()),
        ("redirect_uri", redirect_uri),
        ("code_verifier", code_verifier.reveal()),  # RFC 7636 4.5
        *_resource(provider),
    ]
    answer = await send_form(
        http,
        provider,
        metadata.token_endpoint,
        fields,
        token_endpoint=metadata.token_endpoint,
        secrets=(code, code_verifier),
        prove=prove,
        possession=possession,
    )
    key = possession.key if possession else None
    return read_token_set(answer, asked=requested_scopes(provider), now=now, dpop_key=key)


async def refresh(
    http: OutboundClient,
    provider: Provider,
    metadata: ProviderMetadata,
    tokens: TokenSet,
    *,
    now: float,
    possession: Possession | None = None,
    prove: Prove = credentials,
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
        prove=prove,
        possession=possession,
        seconds=REFRESH_SECONDS,
    )
    key = possession.key if possession else None
    try:
        return read_token_set(
            response, asked=tokens.scope, now=now, refresh_token=tokens.refresh_token, dpop_key=key
        )
    except TokenResponseMalformed as error:
        error.refresh_token = _received_refresh_token(response)
        raise


def _received_refresh_token(response: OutboundResponse) -> Secret | None:
    """The refresh token in a response that is otherwise unusable."""
    try:
        return _token(read_object(response.body), "refresh_token")
    except (JsonUnreadable, TokenResponseMalformed):
        return None


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
    prove: Prove = credentials,
    possession: Possession | None = None,
    seconds: float = WRITE_SECONDS,
) -> OutboundResponse:
    """POST a form with the client's credentials; the answer's status is 2xx.

    Parameters: token_endpoint, of the provider, which an assertion may have to name; secrets, what must not
    come back in an error; prove, makes the credentials of each request; possession, the key to prove with
    each request, and once more when the server wants its nonce; seconds, how long each request may take.
    Raises: TokenRequestRejected, TokenResponseMalformed, OwnKeyMissing, OutboundRefused,
    ProviderUnavailable.
    """
    authenticate = partial(prove, provider, audience=assertion_audience(provider, url, token_endpoint))
    send = partial(
        _post, http, provider, url, fields, prove=authenticate, possession=possession, seconds=seconds
    )
    response, proof = await send()
    if possession is not None and possession.learn(url, response.header_list) and _wants_nonce(response):
        # RFC 9449 8: with new credentials too, as an assertion is good for one request
        response, proof = await send()
        possession.learn(url, response.header_list)
    if 200 <= response.status < 300 and not _is_refusal(response):
        return response
    if 300 <= response.status < 400:
        raise TokenResponseMalformed(f"the endpoint answered {response.status} instead of tokens")
    sent = [secret.reveal() for secret in secrets]
    if provider.client_secret is not None:
        sent.append(provider.client_secret.reveal())
    sent += proof.secrets()
    raise _rejection(response, sent)


async def _post(
    http: OutboundClient,
    provider: Provider,
    url: str,
    fields: Sequence[tuple[str, str]],
    *,
    prove: Callable[[], Credentials],
    possession: Possession | None,
    seconds: float,
) -> tuple[OutboundResponse, Credentials]:
    """Send a form once; the answer, and what proved the client."""
    proof = prove()
    given = {name for name, _ in fields}
    form = [*fields, *(field for field in proof.fields if field[0] not in given)]  # RFC 6749 3.2: once each
    tls = Tls(provider.tls_authorities, provider.client_certificate)  # RFC 8705 2 and 3
    headers = [*proof.headers]
    if possession is not None:
        headers.append(("DPoP", possession.proof("POST", url)))
    response = await post_form(
        http, url, form, tenant=provider.tenant, headers=headers, tls=tls, seconds=seconds
    )
    return response, proof


def _wants_nonce(response: OutboundResponse) -> bool:
    """Whether a request was refused only for its proof's lack of a current nonce (RFC 9449 8)."""
    if response.status not in {400, 401}:
        return False
    try:
        return read_object(response.body).get("error") == NONCE_WANTED
    except JsonUnreadable:
        return False


def read_token_set(
    response: OutboundResponse,
    *,
    asked: Sequence[str],
    now: float,
    refresh_token: Secret | None = None,
    dpop_key: DpopKey | None = None,
) -> TokenSet:
    """Read a token response (RFC 6749 5.1, OIDC Core 3.1.3.3).

    Parameters: asked, the scopes when the provider names none; now, seconds since the epoch, UTC;
    refresh_token, kept when there is no new one; dpop_key, what the tokens must be bound to.
    Raises: TokenResponseMalformed, TokenNotBound, LoginTooLarge.
    """
    if len(response.body) > MAX_BYTES:
        raise LoginTooLarge(
            f"the token response has {len(response.body)} bytes, at most {MAX_BYTES} are read"
        )
    try:
        document = read_object(response.body)
    except JsonUnreadable as error:
        raise TokenResponseMalformed(f"the token response cannot be read: {error}") from error
    access_token = _token(document, "access_token")
    if access_token is None:
        raise TokenResponseMalformed("access_token is missing")
    token_type = _token_type(document, dpop_key)
    return TokenSet(
        access_token=access_token,
        expires_at=round(_expires_at(document, access_token, now), 3),
        token_type=token_type,
        scope=_scope(document) or tuple(asked),
        refresh_token=_token(document, "refresh_token") or refresh_token,
        id_token=_token(document, "id_token"),
        dpop_key=dpop_key,
        issued_at=now,
    )


def _token_type(document: Mapping[str, object], dpop_key: DpopKey | None) -> str:
    value = document.get("token_type")
    # RFC 6749 7.1: compared without regard to case
    stated = value.lower() if isinstance(value, str) else ""
    if dpop_key is None:
        if stated != "bearer":
            raise TokenResponseMalformed("token_type is not Bearer")
        return "Bearer"
    # RFC 9449 5: a server that answers Bearer has not bound the token to the key
    if stated == "bearer":
        raise TokenNotBound("token_type is Bearer, although dpop is asked for")
    if stated != "dpop":
        raise TokenResponseMalformed("token_type is not DPoP")
    return "DPoP"


def _token(document: Mapping[str, object], name: str) -> Secret | None:
    value = document.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not _VISIBLE.fullmatch(value):
        raise TokenResponseMalformed(
            f"{name} is not a string of 1 to {_MOST_CHARACTERS} visible ASCII characters"
        )
    return Secret(value)


def _scope(document: Mapping[str, object]) -> tuple[str, ...]:
    value = document.get("scope")
    if value is None:
        return ()
    if isinstance(value, list) and all(isinstance(scope, str) for scope in value):
        value = " ".join(value)
    if not isinstance(value, str) or len(value) > 20_000:
        raise TokenResponseMalformed("scope is not a string")
    return tuple(dict.fromkeys(value.split()))


def _expires_at(document: Mapping[str, object], access_token: Secret, now: float) -> float:
    value = document.get("expires_in")
    if value is None:
        return _stated_expiry(access_token, now)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenResponseMalformed("expires_in is not a number")
    if value < 0:
        raise TokenResponseMalformed("expires_in is not a number of seconds to come")
    return now + min(value, LONGEST_LIFETIME)


def _stated_expiry(access_token: Secret, now: float) -> float:
    """`exp` of an access token that happens to be a JWT, else the usual lifetime."""
    try:
        exp = jws.stored_claims(access_token.reveal()).get("exp")
    except IdTokenRejected:
        return now + USUAL_LIFETIME
    if isinstance(exp, bool) or not isinstance(exp, int | float):
        return now + USUAL_LIFETIME
    return float(min(max(exp, now), now + LONGEST_LIFETIME))


def _rejection(response: OutboundResponse, sent: Sequence[str]) -> TokenRequestRejected:
    """RFC 6749 5.2, with nothing in it that was sent."""
    try:
        document = read_object(response.body)
    except JsonUnreadable:
        return TokenRequestRejected("unknown_error", f"the endpoint answered {response.status} without JSON")
    stated = document.get("error")
    known = not isinstance(stated, str) or stated in _REGISTERED_ERRORS
    error = error_code(stated if known else without(sent, str(stated)))
    detail = f"the endpoint answered {response.status}, error={error}"
    description = document.get("error_description")
    if isinstance(description, str):
        detail += f": {shown_text(without(sent, description))}"
    return TokenRequestRejected(error, detail)


def _is_refusal(response: OutboundResponse) -> bool:
    """Whether an answer is an error in the dress of a success."""
    try:
        document = read_object(response.body)
    except JsonUnreadable:
        return False
    return "error" in document and "access_token" not in document
