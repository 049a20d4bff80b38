"""Errors of step-up: an API requires more of a login than it has (RFC 9470, RFC 6750 3.1)."""

from __future__ import annotations

from urllib.parse import urlencode

from portal.errors import BadRequest, PortalError


class StepUpRequired(PortalError):
    """A tenant's API requires more of the login than it has; the call had no effect.

    Parameters: status, of the API's response; login_url, a path with a query that asks the provider for it.
    """

    code = "step_up_required"

    def __init__(self, detail: str, *, status: int, login_url: str) -> None:
        super().__init__(detail)
        self.status = status
        self._login_url = login_url

    def url_back_to(self, return_to: str) -> str:
        """The path that asks the provider for it and leads to another path afterwards."""
        return f"{self._login_url}&{urlencode({'return_to': return_to})}"


class AuthenticationRequired(StepUpRequired):
    """The API requires a stronger or more recent authentication of the user."""

    title = "This call needs another sign-in"
    advice = (
        "The API accepts it only after a stronger or more recent sign-in than yours. Confirm who you are at "
        "your organisation's sign-in service, then send the call again."
    )


class PermissionRequired(StepUpRequired):
    """The API requires a scope that the access token does not have."""

    title = "This call needs an additional permission"
    advice = (
        "Ask your organisation's sign-in service for this permission, then send the call again. You stay "
        "signed in if it does not grant it."
    )


class StepUpFailed(PortalError):
    """Another sign-in would not make the API accept the call. Parameters: status, of the API's response."""

    code = "step_up_failed"

    def __init__(self, detail: str, *, status: int) -> None:
        super().__init__(detail)
        self.status = status


class StepUpNotAccepted(StepUpFailed):
    """The login already has what the API requires."""

    title = "The API does not accept your sign-in"
    advice = (
        "Your sign-in already is what the API asks for, and the API refuses the call all the same. Signing "
        "in again will not help. Tell the administrator of your organisation the request id below."
    )


class StepUpScopeNotAllowed(StepUpFailed):
    """The tenant does not let the portal request a scope that the API requires."""

    title = "The portal may not ask for this permission"
    advice = (
        "The API needs a permission that the settings of your organisation do not let the portal request. "
        "Ask the administrator of your organisation to add it to step_up_scopes: those of the API, if "
        "it has access tokens of its own."
    )


class StepUpAuthenticationNotAllowed(StepUpFailed):
    """The tenant's `acr_values` has none of those that an API requires."""

    title = "The portal may not ask for this kind of sign-in"
    advice = (
        "The API needs a kind of sign-in that the settings of your organisation do not let the portal "
        "request. Ask the administrator of your organisation to add it to acr_values."
    )


class StepUpLinkMalformed(BadRequest):
    """A sign-in link asks for a step-up with values that cannot be sent to a provider."""

    code = "step_up_link_malformed"
    title = "This sign-in link is malformed"
    advice = (
        "It asks for a kind of sign-in that cannot be requested. You are still signed in as before. Go back "
        "and try again from the page you came from."
    )


class StepUpScopeRefused(BadRequest):
    """A sign-in link asks for a scope that the tenant does not let the portal request."""

    code = "step_up_scope_refused"
    title = "The portal may not ask for this permission"
    advice = (
        "The link asks for a permission that the settings of this organisation do not let the portal "
        "request. You are still signed in as before. The administrator of your organisation can add it to "
        "step_up_scopes: those of the API, if it has access tokens of its own."
    )
