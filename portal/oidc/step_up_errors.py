"""Errors of a step-up that the provider did not do; the current login stays."""

from __future__ import annotations

from portal.oidc.errors import IdTokenRejected


class StepUpNotDone(IdTokenRejected):
    """The provider did not do what an API requires of the login (RFC 9470); the current login stays."""

    status = 403
    code = "step_up_not_done"
    title = "The sign-in service did not do what the API asks for"


class AuthenticationTooWeak(StepUpNotDone):
    """`acr` of the ID token is none of those that the API accepts."""

    advice = (
        "The API accepts only a stronger sign-in, such as one with a second factor, and the sign-in service "
        "does not say that you used one. You are still signed in as before. Ask the administrator of your "
        "organisation to let the sign-in service state the acr that the API asks for, and send them the "
        "request id below."
    )


class AuthenticationTooOld(StepUpNotDone):
    """`auth_time` of the ID token is missing, or earlier than the API accepts."""

    advice = (
        "The API accepts only a recent sign-in, and the sign-in service did not ask you to sign in again, or "
        "does not say when you did. You are still signed in as before. Tell the administrator of your "
        "organisation that the sign-in service does not follow max_age, and send them the request id below."
    )


class ScopeNotGranted(StepUpNotDone):
    """The token response lacks a scope that the API requires."""

    advice = (
        "The API needs an additional permission, and the sign-in service did not grant it: perhaps you did "
        "not allow it, or your account may not have it. You are still signed in as before. Ask the "
        "administrator of your organisation if you need this permission, and send them the request id below."
    )
