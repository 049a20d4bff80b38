"""The base of every error that the portal can show; those of providers are in `portal.oidc.errors`.

An error class has an HTTP status, a code for programs, and a title and advice for people. `detail` is for the
log and the tenant's administrator; it never contains a token, code, cookie or secret, and pages do not show
it. `explanation`, when given, is safe to show to the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar


class PortalError(Exception):
    """Base of every error that a person or a program may see."""

    status: int = 500
    code: ClassVar[str] = "internal_error"
    title: str = "Something went wrong"
    advice: str = "Try again in a moment. If it happens again, give your administrator the request id below."

    def __init__(
        self, detail: str = "", *, explanation: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.explanation = explanation
        self.retry_after = retry_after


# --- start-up: one message, an exit code, never a traceback


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration: where it is, what was found, what was expected."""

    place: str
    """`file:line:column`, a file, or the name of an environment variable."""
    message: str
    keys: tuple[str | int, ...] | None = field(default=None, compare=False)
    """The keys that lead to the value in the file; None if they are not known."""

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class ConfigurationError(PortalError):
    """The operator's settings or a tenant file are invalid. The command line exits with 2."""

    exit_code: ClassVar[int] = 2
    code = "configuration_error"

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class StartupError(PortalError):
    """The environment prevents start-up (port in use, database down). The command line exits with 3."""

    exit_code: ClassVar[int] = 3
    code = "startup_error"

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(f"{message} {remedy}")
        self.message = message
        self.remedy = remedy


# --- requests


class BadRequest(PortalError):
    """The request is malformed; nothing was done."""

    status = 400
    code = "bad_request"
    title = "This request is malformed"
    advice = "Go back and try again from the page you came from."


class RequestRefused(BadRequest):
    """A path, header or method that could leave the tenant's API."""

    code = "request_refused"
    title = "This request was refused"
    advice = "Check the address: part of it cannot be forwarded to an API."


class CrossSiteRequest(PortalError):
    """A request that another site may have caused."""

    status = 403
    code = "cross_site_request"
    title = "This request did not come from the portal"
    advice = (
        "Nothing was done. Open the portal itself and try again from there; "
        "API calls must be made from the portal's own pages, and need the header X-Portal-CSRF: 1 to change "
        "anything."
    )


class NotFound(PortalError):
    """No such page, or no such tenant; the response is the same for both."""

    status = 404
    code = "not_found"
    title = "Page not found"
    advice = "Check the address, or choose your organisation from the list."


class MethodNotAllowed(PortalError):
    """The address exists, but not for this method."""

    status = 405
    code = "method_not_allowed"
    title = "This address does not support that method"
    advice = "Go back and try again from the page you came from."


class PayloadTooLarge(PortalError):
    """The request body is larger than this address accepts."""

    status = 413
    code = "payload_too_large"
    title = "Request too large"
    advice = "Send less data in one request."


class TooManyRequests(PortalError):
    """A client, or the network that it belongs to, has made more requests of a kind than are allowed.

    Nothing was done. Parameters: limit, its key in `limits` of portal.yaml; retry_after, in seconds.
    """

    status = 429
    code = "too_many_requests"
    title = "Too many requests"
    advice = (
        "The portal got too many requests from your network in a short time. You are not signed out. Wait a "
        "moment and try again."
    )

    def __init__(
        self, detail: str = "", *, limit: str = "sign_ins_per_client", retry_after: int | None = None
    ) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.limit = limit
        """The key of the limit in `limits` of portal.yaml."""


class TooManyAtTenant(TooManyRequests):
    """All clients together have made more requests of a kind at one tenant than are allowed.

    Nothing was done.
    """

    status = 503
    code = "too_many_at_tenant"
    title = "Very many people are signing in"
    advice = (
        "The portal got too many sign-ins at this organisation in a short time. You are not signed out. Wait "
        "a moment and try again."
    )


class WebSocketRefused(BadRequest):
    """The request asks for a WebSocket in an invalid form."""

    code = "websocket_refused"
    title = "This is not a valid WebSocket handshake"
    advice = "Open WebSockets with the browser's own WebSocket object."


class WebSocketVersionUnsupported(PortalError):
    """The handshake is for another version of the protocol (RFC 6455 4.4)."""

    status = 426
    code = "websocket_version_unsupported"
    title = "Only version 13 of the WebSocket protocol is supported"
    advice = "Use a current browser."


class WebSocketUnsupported(PortalError):
    """The server that reads the requests cannot upgrade connections."""

    status = 501
    code = "websocket_unsupported"
    title = "WebSockets need the portal's own HTTP server"
    advice = "The operator can remove `server: tornado` from portal.yaml."


class LoginRequired(PortalError):
    """This session has no live login at this tenant."""

    status = 401
    code = "login_required"
    title = "Please sign in"
    advice = "You are not signed in to this organisation. Sign in to continue."


class CookiesBlocked(PortalError):
    """The browser keeps no cookies, so a login attempt that it began cannot be told from another's."""

    status = 400
    code = "cookies_blocked"
    title = "Your browser blocks cookies"
    advice = (
        "You are not signed in. The portal needs a cookie to recognize this browser when it comes back from "
        "the sign-in service. Allow cookies for this site in the settings of your browser, then start again."
    )


class LoginEndedDuringCall(LoginRequired):
    """The login ended during an API call; the API may have processed the call."""

    code = "login_ended_during_call"
    title = "Your sign-in ended during this call"
    advice = "The call may have taken effect: check before you repeat it. Sign in again to continue."


# --- access rules


class AccessDenied(PortalError):
    """An access rule of the tenant denies this user a part of its API.

    Parameters: rule, as text; found, the kind of value that the claim has.
    """

    status = 403
    code = "access_denied"
    title = "Your account may not use this part of the API"
    advice = "Nothing was done. Ask the administrator of your organisation if you need it."

    def __init__(self, rule: str, found: str, *, explanation: str | None = None) -> None:
        super().__init__(f"found {found}", explanation=explanation)
        self.rule = rule


class NewLoginsRefused(PortalError):
    """The tenant is closed to new logins; who is signed in stays."""

    status = 403
    code = "new_logins_refused"
    title = "Sign-in is closed"
    advice = (
        "This organisation does not accept new sign-ins at the moment. Whoever is signed in stays signed in. "
        "Ask the administrator of your organisation when it opens again."
    )


class SignInNotAllowed(PortalError):
    """An access rule of the tenant refuses this account at sign-in; nothing of the login is stored.

    Parameters: rule and found, as in AccessDenied; provider, its id; claims of the account, to be shown to
    this user only.
    """

    status = 403
    code = "sign_in_not_allowed"
    title = "This account may not sign in here"
    advice = (
        "You are not signed in. Sign in with another account, or ask the administrator of your organisation "
        "and give them the request id below."
    )

    def __init__(self, rule: str, found: str, *, provider: str, claims: Mapping[str, object]) -> None:
        super().__init__(f"found {found}")
        self.rule = rule
        self.provider = provider
        self.claims = claims


# --- database, keys, providers, APIs


class StoreUnavailable(PortalError):
    """The database does not respond."""

    status = 503
    code = "store_unavailable"
    title = "The portal is temporarily unavailable"
    advice = "You are not signed out. Try again in a few seconds."

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, retry_after=5)


class StoredWithoutLogin(StoreUnavailable):
    """A session was stored or changed, but possibly not the login that should be stored with it."""


class FailedBeforeLogin(StoreUnavailable):
    """The write of a session failed, possibly after its effect; that of its login had not begun."""


class LoginNotStored(StoreUnavailable):
    """The database failed at the end of a sign-in, after the session secret was replaced.

    `cookie` is the new session cookie value (a Secret); without it the browser would lose its other logins.
    """

    code = "login_not_stored"
    title = "Your sign-in could not be saved"
    advice = "Start the sign-in again. You are still signed in to your other organisations."

    def __init__(self, detail: str = "", *, cookie: object) -> None:
        super().__init__(detail)
        self.cookie = cookie


class VaultError(PortalError):
    """A sealed value cannot be opened: its key is gone, it was altered, or it belongs to another record."""

    status: int = 500
    code = "vault_error"


class OutboundRefused(PortalError):
    """An outbound URL breaks a rule of the guarded client; nothing was sent."""

    status = 502
    code = "outbound_refused"
    title = "This organisation's settings contain an address that is not allowed"
    advice = "Ask the administrator of your organisation to check the addresses in its settings."


class OutboundFailed(PortalError):
    """An outbound request got no usable response: time-out, connection lost, too large."""

    status = 502
    code = "outbound_failed"


class OutboundTimeout(OutboundFailed):
    """An outbound request took too long."""

    code = "outbound_timeout"


class OutboundBusy(OutboundTimeout):
    """All outbound connections that the tenant may use are busy."""

    code = "outbound_busy"


class UpstreamUnavailable(PortalError):
    """A tenant's API cannot be reached."""

    status = 502
    code = "upstream_unavailable"
    title = "This organisation's API does not respond"
    advice = "You are still signed in. Try again in a moment."


class UpstreamTimeout(UpstreamUnavailable):
    """A tenant's API took too long."""

    status = 504
    code = "upstream_timeout"
    title = "This organisation's API took too long to respond"


class UpstreamBusy(UpstreamUnavailable):
    """A tenant's API has reached its limit of concurrent calls."""

    status = 503
    code = "tenant_busy"
    title = "This organisation's API is busy"
