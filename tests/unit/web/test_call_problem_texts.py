"""The texts of problems that the API explorer knows in the language of its page."""

from __future__ import annotations

import inspect

from portal import errors
from portal.errors import PortalError
from portal.oidc import api_errors
from portal.oidc import errors as oidc_errors
from portal.web import step_up_errors
from portal.web.api_proxy.problem_texts import CALL_ERRORS

NOT_OF_CALLS = {
    "WebSockets": {"WebSocketRefused", "WebSocketVersionUnsupported", "WebSocketUnsupported"},
    "sign-ins": {
        *("CookiesBlocked", "NewLoginsRefused", "SignInNotAllowed", "LoginNotStored", "AttemptUnknown"),
        *(
            "AttemptNotLive",
            "ResponseModeRejected",
            "PushedRequestRejected",
            "IssuerMissing",
            "IssuerUnknown",
        ),
        *("ProviderDenied", "ReauthenticationMissing", "ApiLoginRejected", "StepUpLinkMalformed"),
        *("StepUpScopeRefused", "TooManyAtTenant"),
    },
    "logouts by the provider": {
        *("LogoutRequestRejected", "LogoutTokenRejected", "LogoutTokenReplayed", "RevocationRequestRejected"),
        *("RevocationTokenRejected", "RevocationSubjectUnknown"),
    },
}
"""Errors that no call of an API gets."""


def test_every_error_that_a_call_can_get_has_its_texts_in_the_explorer() -> None:
    known = {text for one in CALL_ERRORS for text in (one.title, one.advice)}
    others = {name for names in NOT_OF_CALLS.values() for name in names}
    missing = {
        kind.__name__
        for module in (errors, oidc_errors, api_errors, step_up_errors)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, PortalError) and not {kind.title, kind.advice} <= known
    }
    assert missing == others
