"""The authorization response (OIDC Core 3.1.2.5, RFC 9207, Form Post Response Mode), without I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from portal.oidc.errors import ProviderDenied, ResponseIssuerRejected, ResponseMalformed, ResponseModeRejected
from portal.oidc.provider import Provider, ProviderMetadata, ResponseMode
from portal.oidc.provider_errors import denial
from portal.oidc.signed_response import unverified_state
from portal.secret import Secret

Response = Mapping[str, Sequence[str]]
"""Every parameter of a response with all its values."""

SILENT_REFUSALS = frozenset(
    {"login_required", "interaction_required", "consent_required", "account_selection_required"}
)
"""What a provider answers when `prompt=none` keeps it from asking the user (OIDC Core 3.1.2.6)."""

_RECOGNISED = (
    "code",
    "state",
    "iss",
    "error",
    "error_description",
    "error_uri",
    "session_state",
    "response",
)
_LONGEST_CODE = 8_192
_LONGEST_OTHER = 4_096
_LONGEST = {"code": _LONGEST_CODE, "response": 65_536, "error_description": 16_384}
_LONGEST_ISSUER = 2_048
_VISIBLE = re.compile(r"[\x20-\x7e]+")  # RFC 6749 A.11


def recognised(response: Response) -> dict[str, list[str]]:
    """The parameters of a response that mean anything.

    Raises: ResponseMalformed when one of them is too long, or given more than once (RFC 6749 3.1).
    """
    found = {name: single(response, name) for name in _RECOGNISED}
    for name, value in found.items():
        if value is not None and len(value) > _LONGEST.get(name, _LONGEST_OTHER):
            raise ResponseMalformed(f"{name} is too long")
    return {name: [value] for name, value in found.items() if value is not None}


def stated_state(response: Response) -> str:
    """The `state` by which the attempt of a response is found; empty when there is none.

    That of a signed response is inside and not verified yet (JARM 2.4): what it finds decides whose keys do.
    Raises: ResponseMalformed, SignedResponseRejected.
    """
    token = single(response, "response")
    if token is not None:
        return unverified_state(Secret(token))
    return single(response, "state") or ""


def check_delivery(response: Response, mode: ResponseMode, *, posted: bool) -> None:
    """Refuse a response that came another way than it was asked for.

    An error may come in the URL all the same: a provider that knows no form_post has no other way to say so.
    Raises: ResponseModeRejected.
    """
    if posted and not mode.posted:
        raise ResponseModeRejected("the response was posted, though it was asked for in the URL")
    # Form Post Response Mode 4: the point of it is that no code is in a URL
    if mode.posted and not posted and (mode.signed or authorization_error(response) is None):
        raise ResponseModeRejected("the response came in the URL, though form_post was asked for")


def accept_response(response: Response, provider: Provider, metadata: ProviderMetadata) -> Secret:
    """The code of an authorization response whose `state` the caller has matched already.

    Parameters: response, opened when it was signed.
    Raises: ResponseMalformed, ResponseModeRejected, ResponseIssuerRejected, ProviderDenied.
    """
    parameters = {name: single(response, name) for name in _RECOGNISED}
    if parameters["response"] is not None:
        raise ResponseModeRejected("the response is signed, though none such was asked for")
    _check_issuer(parameters["iss"], provider, metadata)
    error = parameters["error"]
    if error is not None:
        raise _denial(response, error)
    code = parameters["code"]
    if code is None:
        raise ResponseMalformed("the response has neither a code nor an error")
    if len(code) > _LONGEST_CODE or not _VISIBLE.fullmatch(code):
        raise ResponseMalformed("the code is empty, too long or holds characters it must not")
    return Secret(code)


def authorization_error(response: Response) -> ProviderDenied | None:
    """The error in an authorization response, None when it has none.

    Raises: ResponseMalformed when a parameter is repeated.
    """
    error = single(response, "error")
    return None if error is None else _denial(response, error)


def single(response: Response, name: str) -> str | None:
    """The value of a parameter, None when it is absent.

    Raises: ResponseMalformed when it is given more than once (RFC 6749 3.1).
    """
    values = response.get(name, ())
    if len(values) > 1:
        raise ResponseMalformed(f"{name} is given more than once")
    return values[0] if values else None


def _denial(response: Response, error: str) -> ProviderDenied:
    beside = [value for name in ("code", "state", "response") for value in response.get(name, ())]
    return denial(error, single(response, "error_description"), beside=beside)


def _check_issuer(iss: str | None, provider: Provider, metadata: ProviderMetadata) -> None:
    # RFC 9207 2.4
    if iss is None:
        if metadata.iss_parameter_supported:
            raise ResponseIssuerRejected("the response names no issuer, which this provider always does")
        return
    if len(iss) > _LONGEST_ISSUER or not provider.issues_as(iss):
        raise ResponseIssuerRejected("the response is of another issuer")
