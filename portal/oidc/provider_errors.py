"""Error pages for the error codes of providers (RFC 6749 4.1.2.1, OIDC Core 3.1.2.6)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

from portal.display_text import display_text
from portal.oidc.abnf import NQSCHAR, one_to
from portal.oidc.errors import ProviderDenied
from portal.oidc.provider import Provider
from portal.sentences import message

LONGEST_DESCRIPTION = 300
_LONGEST_READ = 4_096
"""Characters of a description that are read; only 300 are shown, so a secret cut here is never visible."""
_LONGEST_SEARCHED = 500
_CODE = one_to(128, NQSCHAR)  # RFC 6749 A.7
_PERHAPS_A_SECRET = re.compile(r"[A-Za-z0-9_.~+/=%-]{40,}")
"""As long as the portal's states, nonces and verifiers, and tokens; support identifiers are shorter."""

_CANCELLATIONS = frozenset({"user_cancelled_authorize", "user_cancelled_login", "user_cancelled"})
"""Codes of Apple and LinkedIn."""
_BY_THE_USER = re.compile(
    r"\b(?:user|owner|server)\s+(?:has\s+)?(?:cancel|declin|den(?:y|ied)|reject|refus|abort|said\sno|did\snot\sauthori)",
    re.IGNORECASE,
)
"""In descriptions of `access_denied`, whose own words name both: "the resource owner or authorization server
denied the request" (RFC 6749 4.1.2.1). Others say why the user has no access."""


@dataclass(frozen=True, slots=True)
class _Page:
    title: str
    advice: str
    status: int


_TRY_AGAIN = message(
    "Start the sign-in again. If it fails once more, tell your administrator the request id below."
)
_ASK_ADMIN = message(
    "Signing in cannot work until the provider's settings are changed. "
    "Send the request id below to the administrator of your organisation."
)
_INTERACT = message("Start the sign-in again and complete the steps that the sign-in service shows.")
_GENERAL = _Page(message("Sign-in was denied"), _TRY_AGAIN, 400)
_MISCONFIGURED = _Page(message("The portal is not set up correctly at the sign-in service"), _ASK_ADMIN, 502)

_PAGES: Mapping[str, _Page] = {
    "access_denied": _Page(
        message("Access was denied"),
        message(
            "Your organisation does not allow you to use the portal. "
            "Ask its administrator for access, or sign in with another account."
        ),
        403,
    ),
    "login_required": _Page(message("You need to sign in again"), _INTERACT, 401),
    "interaction_required": _Page(message("The sign-in service needs your input"), _INTERACT, 401),
    "account_selection_required": _Page(message("You need to choose an account"), _INTERACT, 401),
    "consent_required": _Page(
        message("Your consent is needed"),
        message(
            "Start the sign-in again and consent to the access that the portal requests. If you are not "
            "asked, the administrator of your organisation has to consent for all users."
        ),
        403,
    ),
    "temporarily_unavailable": _Page(
        message("The sign-in service is busy"),
        message("Nothing is lost. Try again in a minute; other organisations are not affected."),
        503,
    ),
    "server_error": _Page(
        message("The sign-in service reported an internal error"),
        message(
            "Try again in a minute. If the problem persists, tell the administrator of your organisation."
        ),
        502,
    ),
    "unmet_authentication_requirements": _Page(
        message("A stronger sign-in is needed"),
        message("Your organisation requires a sign-in method that you did not use, such as a second factor."),
        403,
    ),
    "invalid_scope": _MISCONFIGURED,
    "invalid_target": _MISCONFIGURED,
    "invalid_request": _MISCONFIGURED,
    "invalid_client": _MISCONFIGURED,
    "unauthorized_client": _MISCONFIGURED,
    "unsupported_response_type": _MISCONFIGURED,
    "unsupported_response_mode": _MISCONFIGURED,
    "request_not_supported": _MISCONFIGURED,
    "request_uri_not_supported": _MISCONFIGURED,
    "registration_not_supported": _MISCONFIGURED,
    "invalid_request_uri": _MISCONFIGURED,
    "invalid_request_object": _MISCONFIGURED,
}


def denial(error: str, description: str | None, *, sent_values: Sequence[str] = ()) -> ProviderDenied:
    """Return the error to raise for an authorization error response.

    Parameters: sent_values, values of the response to remove from the log in case the description repeats
    them.
    """
    code = (
        error if error in _PAGES else _PERHAPS_A_SECRET.sub("…", redacted(error[:_LONGEST_READ], sent_values))
    )
    code = error_code(code)
    page = _PAGES.get(code, _GENERAL)
    text = (description or "")[:_LONGEST_READ]
    log_text = _PERHAPS_A_SECRET.sub("…", redacted(text, sent_values))
    return ProviderDenied(
        code,
        display_text(text, LONGEST_DESCRIPTION) or None,
        log_description=display_text(log_text, LONGEST_DESCRIPTION),
        title=page.title,
        advice=page.advice,
        status=page.status,
        cancelled=_is_cancellation(code, text[:LONGEST_DESCRIPTION]),
    )


def _is_cancellation(code: str, description: str) -> bool:
    if code == "access_denied":
        return not description.strip() or _BY_THE_USER.search(description) is not None
    return code in _CANCELLATIONS


def advice_about(provider: Provider, error: str, description: str) -> str:
    """Return what the administrator can do about an error of the provider, to append to `detail`.

    Empty if the preset does not know the error.
    Parameters: error and description, as they are logged; only their first 500 characters are searched.
    """
    text = f"{error}: {description}"[:_LONGEST_SEARCHED]
    advice = provider.error_advice(text) if provider.error_advice else None
    return f"; {advice}" if advice else ""


def error_code(value: object) -> str:
    """Return an error code that is safe to log; `unknown_error` for anything that is not one."""
    return value if isinstance(value, str) and _CODE.fullmatch(value) else "unknown_error"


def redacted(text: str, secrets: Sequence[str]) -> str:
    """Remove these values from an untrusted text, plain and URL-encoded."""
    for value in filter(None, secrets):
        for form in (value, quote_plus(value), quote(value, safe="")):
            text = text.replace(form, "…")
    return text
