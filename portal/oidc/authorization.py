"""The authorization request and its answer (OIDC Core 3.1.2, RFC 9700, RFC 9207). Nothing here does I/O."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from portal.errors import ProviderDenied, ResponseIssuerRejected, ResponseMalformed
from portal.oidc.provider import AuthorizationRequest, Provider, ProviderMetadata
from portal.oidc.provider_errors import denial
from portal.oidc.secret import Secret

PROTECTED_PARAMETERS = frozenset(
    {
        "response_type",
        "response_mode",
        "client_id",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
        "redirect_uri",
        "scope",
        "state",
        "nonce",
        "code_challenge",
        "code_challenge_method",
        "code_verifier",
        "max_age",
        "request",
        "request_uri",
        "registration",
        "id_token_hint",
    }
)
"""Parameters that a tenant file never sets freely; see `Provider.authorize_params`."""

_RECOGNISED = ("code", "state", "iss", "error", "error_description", "error_uri", "session_state")
_LONGEST_CODE = 8_192
_LONGEST_ISSUER = 2_048
_VISIBLE = re.compile(r"[\x20-\x7e]+")  # RFC 6749 A.11


def build_request(
    provider: Provider,
    metadata: ProviderMetadata,
    *,
    redirect_uri: str,
    prompt: str | None = None,
    login_hint: str | None = None,
) -> AuthorizationRequest:
    """Build an authorization request with fresh state, nonce and PKCE verifier, 256 bits each.

    Parameters: prompt and login_hint win over those in `provider.authorize_params`.
    """
    state, nonce, code_verifier = (secrets.token_urlsafe(32) for _ in range(3))
    parameters = [
        ("response_type", "code"),
        ("client_id", provider.client_id),
        ("redirect_uri", redirect_uri),
        ("scope", " ".join(requested_scopes(provider))),
        ("state", state),
        ("nonce", nonce),
        # RFC 9700 2.1.1: also for confidential clients
        ("code_challenge", code_challenge(code_verifier)),
        ("code_challenge_method", "S256"),
        *_optional_parameters(provider, prompt, login_hint),
    ]
    taken = {name for name, _ in parameters} | PROTECTED_PARAMETERS
    parameters += [(name, value) for name, value in provider.authorize_params if name not in taken]
    return AuthorizationRequest(
        url=_with_query(metadata.authorization_endpoint, parameters),
        state=state,
        nonce=nonce,
        code_verifier=Secret(code_verifier),
        redirect_uri=redirect_uri,
    )


def requested_scopes(provider: Provider) -> tuple[str, ...]:
    """The scopes asked for: those of the provider, each once, `openid` always among them."""
    scopes = dict.fromkeys(provider.scopes)
    return tuple(scopes) if "openid" in scopes else ("openid", *scopes)  # OIDC Core 3.1.2.1


def code_challenge(code_verifier: str) -> str:
    """The S256 challenge of a PKCE verifier (RFC 7636 4.2)."""
    digest = hashlib.sha256(code_verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def accept_response(
    response: Mapping[str, Sequence[str]], provider: Provider, metadata: ProviderMetadata
) -> Secret:
    """The code of an authorization response whose `state` the caller has matched already.

    Parameters: response, every parameter with all its values.
    Raises: ResponseMalformed, ResponseIssuerRejected, ProviderDenied.
    """
    parameters = {name: single(response, name) for name in _RECOGNISED}
    _check_issuer(parameters["iss"], provider, metadata)
    error = parameters["error"]
    if error is not None:
        raise denial(error, parameters["error_description"])
    code = parameters["code"]
    if code is None:
        raise ResponseMalformed("the response has neither a code nor an error")
    if len(code) > _LONGEST_CODE or not _VISIBLE.fullmatch(code):
        raise ResponseMalformed("the code is empty, too long or holds characters it must not")
    return Secret(code)


def authorization_error(response: Mapping[str, Sequence[str]]) -> ProviderDenied | None:
    """The error in an authorization response, None when it has none.

    Raises: ResponseMalformed when a parameter is repeated.
    """
    error = single(response, "error")
    return None if error is None else denial(error, single(response, "error_description"))


def single(response: Mapping[str, Sequence[str]], name: str) -> str | None:
    """The value of a parameter, None when it is absent.

    Raises: ResponseMalformed when it is given more than once (RFC 6749 3.1).
    """
    values = response.get(name, ())
    if len(values) > 1:
        raise ResponseMalformed(f"{name} is given more than once")
    return values[0] if values else None


def _check_issuer(iss: str | None, provider: Provider, metadata: ProviderMetadata) -> None:
    # RFC 9207 2.4
    if iss is None:
        if metadata.iss_parameter_supported:
            raise ResponseIssuerRejected("the response names no issuer, which this provider always does")
        return
    if len(iss) > _LONGEST_ISSUER or iss != provider.issuer:
        raise ResponseIssuerRejected("the response is of another issuer")


def _optional_parameters(
    provider: Provider, prompt: str | None, login_hint: str | None
) -> list[tuple[str, str]]:
    parameters: list[tuple[str, str]] = []
    if provider.audience is not None:
        parameters.append(("audience", provider.audience))
    parameters += [("resource", resource) for resource in provider.resources]  # RFC 8707 2.1
    if provider.max_age is not None:
        parameters.append(("max_age", str(provider.max_age)))
    if provider.acr_values:
        parameters.append(("acr_values", " ".join(provider.acr_values)))
    if prompt is not None:
        parameters.append(("prompt", prompt))
    if login_hint is not None:
        parameters.append(("login_hint", login_hint))
    return parameters


def _with_query(endpoint: str, parameters: Sequence[tuple[str, str]]) -> str:
    """Add parameters to an endpoint, whose own query stays (RFC 6749 3.1) except for the same names."""
    parts = urlsplit(endpoint)
    names = {name for name, _ in parameters} | PROTECTED_PARAMETERS
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in names]
    query = urlencode([*kept, *parameters], quote_via=quote, safe="")
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
