"""Errors of access tokens for a tenant's APIs."""

from __future__ import annotations

from urllib.parse import urlencode

from portal.errors import LoginRequired, PortalError
from portal.oidc.errors import LoginRejected


class ApiTokenError(PortalError):
    """No access token for an API can be had; the login itself is not affected.

    Parameters: api, the name of the API in the tenant file, empty for the default API.
    """

    status = 502
    code = "api_token_unavailable"
    title = "This organisation's API cannot be called with this sign-in"
    advice = (
        "You are still signed in, and other APIs are not affected. "
        "Send the request id below to the administrator of your organisation."
    )

    def __init__(self, api: str, detail: str) -> None:
        super().__init__(f"{_named(api)}: {detail}")
        self.api = api


class ApiTokenMismatch(ApiTokenError):
    """The provider issued an access token for another API than the one requested; it is not used."""

    code = "api_token_of_another_api"
    title = "The sign-in service gave access to another API"
    advice = (
        "You are still signed in, and nothing was sent to the API. Ask the administrator of your "
        "organisation to compare audience or resource of this API in the portal's settings with what the "
        "sign-in service issues access tokens for. Send them the request id below."
    )


class ApiTokenRefused(ApiTokenError):
    """The provider refused to issue an access token for an API; `error` is its code (RFC 6749 5.2)."""

    code = "api_token_refused"
    title = "The sign-in service gives no access to this API"
    advice = (
        "You are still signed in, and nothing was sent to the API. Ask the administrator of your "
        "organisation to allow the portal this API at the sign-in service, or to correct audience, resource, "
        "scopes or token of this API in the portal's settings. Send them the request id below."
    )

    def __init__(self, api: str, error: str, detail: str) -> None:
        super().__init__(api, detail)
        self.error = error


class ApiTokenTooLarge(ApiTokenError):
    """With the access token of an API, the login would exceed the size that the portal stores."""

    code = "api_token_too_large"
    title = "There are too many or too large access tokens"
    advice = (
        "You are still signed in, and other APIs are not affected. Ask the administrator of your "
        "organisation to make access tokens smaller at the sign-in service. Send them the request id below."
    )


class ApiLoginRequired(LoginRequired):
    """An API needs one more login, which adds an access token to the login that there is.

    Parameters: api, its name; provider, the id of the login's provider.
    """

    code = "api_login_required"
    title = "This API needs one more sign-in"
    advice = (
        "You are still signed in. The sign-in service has to confirm access to this API, usually without "
        "asking you anything. Continue, and try again."
    )

    def __init__(self, api: str, *, provider: str) -> None:
        super().__init__(f"{_named(api)}: an access token needs one more login")
        self.api = api
        self.provider = provider

    def url_back_to(self, tenant: str, path: str) -> str:
        """The address of the login. Parameters: tenant, its slug; path, where the browser goes afterwards."""
        parameters = {"return_to": path, "api": self.api, "provider": self.provider, "prompt": "none"}
        return f"/t/{tenant}/login?{urlencode(parameters)}"


class ApiLoginRejected(LoginRejected):
    """A login for one API cannot be added to the login that there is."""

    code = "api_login_rejected"
    title = "This sign-in could not be added"
    advice = (
        "The portal asked the sign-in service for access to one more API, but another account signed in "
        "there, or your sign-in here ended meanwhile. Start again, with the account that you use here."
    )


def _named(api: str) -> str:
    return f"apis.{api}" if api else "api"
