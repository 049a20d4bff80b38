"""The authorization response (OIDC Core 3.1.2.5, RFC 9207, Form Post Response Mode), without I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from portal.oidc.abnf import VSCHAR, one_to
from portal.oidc.errors import (
    ProviderDenied,
    ResponseIssuerRejected,
    ResponseMalformed,
    ResponseModeRejected,
    SignedResponseRejected,
)
from portal.oidc.provider import Provider, ProviderMetadata, ResponseMode
from portal.oidc.provider_errors import advice_about, denial
from portal.oidc.quoting import kind_of, length_of, mismatch
from portal.oidc.signed_response import unverified_state
from portal.secret import Secret

Response = Mapping[str, Sequence[str]]
"""Each parameter of a response with all its values."""

SILENT_REFUSALS = frozenset(
    {
        "login_required",
        "interaction_required",
        "consent_required",
        "account_selection_required",
        "invalid_request",
    }
)
"""Error codes of a provider that would need user interaction under `prompt=none` (OIDC Core 3.1.2.6).

Hydra sends `invalid_request` for an `id_token_hint` that it signed with a key it has since replaced.
"""

ACCOUNT_SELECTION_REFUSALS = frozenset(
    {
        "invalid_request",
        "account_selection_required",
        "interaction_required",
        "unmet_authentication_requirements",
    }
)
"""Error codes of providers that do not support `prompt=select_account` or have no accounts to choose from."""

_KNOWN = (
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
_CODE = one_to(_LONGEST_CODE, VSCHAR)  # RFC 6749 A.11


def known_parameters(response: Response) -> dict[str, list[str]]:
    """Return the known parameters of a response.

    Raises: ResponseMalformed when one of them is too long or repeated (RFC 6749 3.1).
    """
    found = {name: single(response, name) for name in _KNOWN}
    for name, value in found.items():
        if value is not None and len(value) > _LONGEST.get(name, _LONGEST_OTHER):
            limit = _LONGEST.get(name, _LONGEST_OTHER)
            raise ResponseMalformed(length_of(name, value, limit))
    return {name: [value] for name, value in found.items() if value is not None}


def response_state(response: Response) -> str:
    """Return the `state` that identifies the login attempt; empty without one.

    That of a signed response is inside and not verified yet (JARM 2.4): what it finds decides whose keys do.
    Raises: ResponseMalformed, SignedResponseRejected.
    """
    token = single(response, "response")
    if token is not None:
        return unverified_state(Secret(token))
    return single(response, "state") or ""


def check_delivery(response: Response, mode: ResponseMode, *, posted: bool) -> None:
    """Reject a response that did not arrive in the requested response mode.

    An error may always arrive in the URL: a provider that does not support form_post can report it only
    there.
    Raises: ResponseModeRejected.
    """
    if posted and not mode.posted:
        raise ResponseModeRejected(f"the response was posted; expected in the URL (response_mode: {mode})")
    # Form Post Response Mode 4: a code must not appear in a URL
    if mode.posted and not posted and (mode.signed or single(response, "error") is None):
        raise ResponseModeRejected(f"the response came in the URL; expected a form (response_mode: {mode})")


def accept_response(response: Response, provider: Provider, metadata: ProviderMetadata) -> Secret:
    """Return the code of an authorization response whose `state` the caller has already matched.

    Parameters: response, the parameters; of a signed response, those inside the token.
    Raises: ResponseMalformed, ResponseModeRejected, ResponseIssuerRejected, ProviderDenied.
    """
    parameters = {name: single(response, name) for name in _KNOWN}
    if parameters["response"] is not None:
        detail = f"the response is signed; expected an unsigned one (response_mode: {provider.response_mode})"
        raise ResponseModeRejected(detail)
    _check_issuer(parameters["iss"], provider, metadata)
    error = parameters["error"]
    if error is not None:
        raise _denial(response, error, provider)
    code = parameters["code"]
    if code is None:
        raise ResponseMalformed("the response has neither a code nor an error")
    if not _CODE.fullmatch(code):
        expected = f"expected 1 to {_LONGEST_CODE} printable ASCII characters"
        raise ResponseMalformed(f"code is {kind_of(code)}; {expected}")
    return Secret(code)


def single(response: Response, name: str) -> str | None:
    """Return the value of a parameter, or None when it is absent.

    Raises: ResponseMalformed when it is repeated (RFC 6749 3.1).
    """
    values = response.get(name, ())
    if len(values) > 1:
        raise ResponseMalformed(f"{name} is given {len(values)} times; expected once")
    return values[0] if values else None


def signed(response: Response, provider: Provider) -> Secret:
    """Return the signed response (JARM 2.3). Raises: SignedResponseRejected without one."""
    token = single(response, "response")
    if token is None:
        detail = f"response is missing; expected a signed token (response_mode: {provider.response_mode})"
        raise SignedResponseRejected("unsigned", detail)
    return Secret(token)


def _denial(response: Response, error: str, provider: Provider) -> ProviderDenied:
    sent_values = [value for name in ("code", "state") for value in response.get(name, ())]
    description = single(response, "error_description")
    if provider.translate_error is not None:
        error = provider.translate_error(error, (description or "")[:_LONGEST_OTHER]) or error
    denied = denial(error, description, sent_values=sent_values)
    denied.detail += advice_about(provider, denied.error, denied.explanation or "")
    return denied


def _check_issuer(iss: str | None, provider: Provider, metadata: ProviderMetadata) -> None:
    # RFC 9207 2.4
    if iss is None:
        if metadata.iss_parameter_supported:
            raise ResponseIssuerRejected(mismatch("iss of the response", None, provider.issuer))
        return
    if len(iss) > _LONGEST_ISSUER or not provider.accepts_issuer(iss):
        raise ResponseIssuerRejected(_issuer_mismatch(iss, provider))


def _issuer_mismatch(iss: str, provider: Provider) -> str:
    template = provider.issuer_template
    return mismatch("iss of the response", iss, provider.issuer if template is None else template.text)
