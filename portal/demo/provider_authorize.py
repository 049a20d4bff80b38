"""Parses authorization requests and decides the next step of the user. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from enum import StrEnum

from portal.demo.compact import TokenUnreadable
from portal.demo.provider_model import (
    SECOND_FACTOR,
    AuthorizationRequest,
    BrowserSession,
    ClientRegistration,
    Interaction,
    Parameters,
    ProtocolError,
    ProviderSettings,
    RequestUntrusted,
    ReturnPath,
)

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_PROMPTS = frozenset({"none", "login", "consent", "select_account"})
_REPEATABLE = frozenset({"resource"})
ACR_VALUES = ("pwd", SECOND_FACTOR)
"""The supported values of `acr`."""
_LONGEST_CLAIMS = 4_096


class Step(StrEnum):
    """The next step of an authorization request."""

    SIGN_IN = "sign_in"
    SECOND_FACTOR = "second_factor"
    CONSENT = "consent"
    RESPONSE = "response"


def one(parameters: Parameters, name: str) -> str | None:
    """The value of a parameter; None when it is missing or empty (RFC 6749 3.1)."""
    values = parameters.get(name) or ()
    return values[0] or None if values else None


def find_client(settings: ProviderSettings, parameters: Parameters) -> tuple[ClientRegistration, ReturnPath]:
    """The client and the return path of its response, checked before any redirect.

    Raises RequestUntrusted (RFC 6749 4.1.2.1: show the error to the user).
    """
    for name in ("client_id", "redirect_uri", "state"):
        if len(parameters.get(name, ())) > 1:
            raise RequestUntrusted("A parameter of this request was sent more than once.")
    client = settings.client(one(parameters, "client_id"))
    if client is None:
        raise RequestUntrusted("The application that sent you here is not registered.")
    redirect_uri = one(parameters, "redirect_uri")
    if redirect_uri not in client.redirect_uris:  # RFC 9700 2.1: exact
        raise RequestUntrusted("The address to come back to is not registered for this application.")
    mode = one(parameters, "response_mode")
    mode = mode if mode in settings.response_modes else settings.response_modes[0]
    return client, ReturnPath(client.client_id, redirect_uri, one(parameters, "state"), mode)


def read_request(
    settings: ProviderSettings,
    parameters: Parameters,
    verify_hint: Callable[[str], Mapping[str, object]],
) -> AuthorizationRequest:
    """Check an authorization request (OIDC Core 3.1.2.2, RFC 7636 4.4.1).

    Parameters: verify_hint, which returns the claims of an `id_token_hint` or raises TokenUnreadable.
    Raises RequestUntrusted, or ProtocolError for errors that go back to the client.
    """
    client, path = find_client(settings, parameters)
    for name, values in parameters.items():
        if len(values) > 1 and name not in _REPEATABLE:
            raise ProtocolError("invalid_request", f"The parameter {name} was sent more than once.")
    _check_kind(settings, parameters)
    scope = tuple(dict.fromkeys((one(parameters, "scope") or "").split()))
    if "openid" not in scope:
        raise ProtocolError("invalid_scope", "The scope must contain openid.")
    prompt = frozenset((one(parameters, "prompt") or "").split())
    if not prompt <= _PROMPTS or ("none" in prompt and len(prompt) > 1):
        raise ProtocolError("invalid_request", "The prompt is not a valid combination.")
    return AuthorizationRequest(
        client=client,
        redirect_uri=path.redirect_uri,
        state=path.state,
        nonce=one(parameters, "nonce"),
        scope=tuple(name for name in scope if name in client.scopes),
        audiences=audiences(client, parameters),
        code_challenge=_code_challenge(parameters),
        prompt=prompt,
        max_age=_max_age(parameters),
        login_hint=(one(parameters, "login_hint") or "")[:200],
        hinted_subject=_hinted_subject(parameters, verify_hint),
        response_mode=path.response_mode,
        acr_values=requested_acr(one(parameters, "acr_values") or "", one(parameters, "claims") or ""),
        parameters=parameters,
    )


def audiences(client: ClientRegistration, parameters: Parameters) -> tuple[str, ...]:
    """The requested APIs, as `resource` (RFC 8707) or `audience`; by default the client's first.

    Raises ProtocolError.
    """
    requested = tuple(
        dict.fromkeys(filter(None, (*parameters.get("resource", ()), *parameters.get("audience", ()))))
    )
    if not set(requested) <= set(client.audiences):
        raise ProtocolError("invalid_target", "This application may not use this API.")
    return requested or client.audiences[:1]


def next_step(
    interaction: Interaction,
    session: BrowserSession | None,
    *,
    consented: frozenset[str] | None,
    now: float,
) -> Step:
    """The next step before the client gets its response.

    Parameters: consented, the scopes the user allowed this client before, None when no consent is needed.
    Raises ProtocolError when a step is needed but `prompt=none` forbids it (OIDC Core 3.1.2.6).
    """
    request = interaction.request
    silent = "none" in request.prompt
    if session is None or (not interaction.signed_in and _must_sign_in_again(request, session, now)):
        if silent:
            raise ProtocolError("login_required", "No user is signed in.")
        return Step.SIGN_IN
    if request.hinted_subject not in (None, session.user.subject):
        if silent:
            raise ProtocolError("login_required", "Another user is signed in.")
        return Step.SIGN_IN
    if needs_second_factor(request, session):
        if silent:
            raise ProtocolError("interaction_required", "The user has not used a second factor.")
        return Step.SECOND_FACTOR
    needs_consent = consented is not None and not set(request.scope) <= consented
    if interaction.granted_scope is None and (needs_consent or "consent" in request.prompt):
        if silent:
            raise ProtocolError("consent_required", "The user has not allowed this yet.")
        return Step.CONSENT
    return Step.RESPONSE


def requested_acr(acr_values: str, claims: str) -> tuple[str, ...]:
    """The values of `acr` that a request names, in order of preference (OIDC Core 3.1.2.1 and 5.5.1.1).

    Parameters: acr_values and claims, as sent, empty when missing.
    Raises ProtocolError when `claims` is malformed, or when none of its essential values is supported.
    """
    try:
        document = json.loads(claims[:_LONGEST_CLAIMS]) if claims else {}
        acr = (document.get("id_token") or {}).get("acr") or {}
        essential, values = acr.get("essential") is True, [*acr.get("values", ()), acr.get("value")]
    except (ValueError, AttributeError, TypeError) as error:
        raise ProtocolError("invalid_request", "The claims parameter is malformed.") from error
    named = [value for value in values if isinstance(value, str)]
    if essential and named and not set(named) & set(ACR_VALUES):
        raise ProtocolError("unmet_authentication_requirements", "This kind of sign-in is not supported.")
    return tuple(value for value in named or acr_values.split() if value in ACR_VALUES)


def needs_second_factor(request: AuthorizationRequest, session: BrowserSession) -> bool:
    """Whether the request prefers a second factor, which the user has not used in this session."""
    return request.acr_values[:1] == (SECOND_FACTOR,) and session.acr != SECOND_FACTOR


def grantable(
    request: AuthorizationRequest, session: BrowserSession, api_scopes: Mapping[str, str]
) -> tuple[str, ...]:
    """The requested scopes that this user may have."""
    return tuple(name for name in request.scope if name not in api_scopes or name in session.user.scopes)


def _check_kind(settings: ProviderSettings, parameters: Parameters) -> None:
    if one(parameters, "response_type") != "code":
        raise ProtocolError("unsupported_response_type", "Only response_type=code is supported.")
    if one(parameters, "response_mode") not in (None, *settings.response_modes):
        raise ProtocolError("invalid_request", "This response_mode is not supported.")


def _code_challenge(parameters: Parameters) -> str:
    if one(parameters, "code_challenge_method") != "S256":
        raise ProtocolError("invalid_request", "PKCE with S256 is required.")
    challenge = one(parameters, "code_challenge") or ""
    if not _CHALLENGE.fullmatch(challenge):
        raise ProtocolError("invalid_request", "The code_challenge is not a SHA-256 in base64url.")
    return challenge


def _max_age(parameters: Parameters) -> int | None:
    text = one(parameters, "max_age")
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 9:
        raise ProtocolError("invalid_request", "max_age is not a number of seconds.")
    return int(text)


def _hinted_subject(parameters: Parameters, verify_hint: Callable[[str], Mapping[str, object]]) -> str | None:
    hint = one(parameters, "id_token_hint")
    if hint is None:
        return None
    try:
        subject = verify_hint(hint).get("sub")
    except TokenUnreadable as error:
        raise ProtocolError("invalid_request", "This provider did not issue the id_token_hint.") from error
    return subject if isinstance(subject, str) else None


def _must_sign_in_again(request: AuthorizationRequest, session: BrowserSession, now: float) -> bool:
    if request.prompt & {"login", "select_account"}:
        return True
    return request.max_age is not None and now - session.auth_time > request.max_age
