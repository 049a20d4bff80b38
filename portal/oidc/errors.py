"""Errors of the OpenID Connect client, one class per rule.

`portal.errors` describes the base classes, `detail` and `explanation`.
"""

from __future__ import annotations

from portal.errors import BadRequest, PortalError
from portal.oidc.begun_login import BegunLogin
from portal.sentences import moment, sentence


class ProviderUnavailable(PortalError):
    """A provider cannot be reached, or responds with a server error."""

    status = 503
    code = "provider_unavailable"
    title = "The sign-in service of this organisation does not respond"
    advice = "Nothing is lost. Try again in a minute; other organisations are not affected."

    begun: BegunLogin | None = None
    """The login attempt that it ended; None when it ended none."""

    def __init__(self, detail: str = "", *, retry_after: int = 10) -> None:
        super().__init__(detail, retry_after=retry_after)


# --- rejected logins, one class per rule


class LoginRejected(PortalError):
    """A login failed a check. Nothing of it is stored."""

    status = 400
    code = "login_rejected"
    title = "You could not be signed in"
    advice = "Start the sign-in again. If it fails once more, tell your administrator the request id below."
    begun: BegunLogin | None = None
    """The login attempt; None when it is not known."""


class AttemptUnknown(LoginRejected):
    """The state is unknown, used or expired, or belongs to another browser or tenant."""

    code = "login_attempt_unknown"
    title = "This sign-in is no longer valid"
    advice = (
        "A sign-in is valid once, for ten minutes, in the browser that started it. Start it again from here."
    )


class AttemptNotLive(AttemptUnknown):
    """No attempt of this browser waits for the response: it is used, expired or of another browser."""


class ResponseMalformed(LoginRejected):
    """A parameter of the authorization response is missing, repeated or invalid."""

    code = "response_malformed"


class ResponseIssuerRejected(LoginRejected):
    """`iss` of the authorization response is missing or not the provider's issuer (RFC 9207)."""

    code = "response_issuer_rejected"


class ResponseModeRejected(LoginRejected):
    """The authorization response did not arrive in the requested response mode."""

    code = "response_mode_rejected"
    title = "The sign-in service used a response mode that is not accepted"
    advice = (
        "You are not signed in. Start the sign-in again; if it fails once more, ask the administrator of "
        "your organisation to compare response_mode in the portal with what the provider supports."
    )


class SignedResponseRejected(LoginRejected):
    """The signed authorization response broke a rule (JARM 2.4); `rule` names it."""

    code = "signed_response_rejected"

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


class PushedRequestRejected(LoginRejected):
    """The provider rejected the pushed authorization request (RFC 9126 2.3); `error` is its code."""

    status = 502
    code = "pushed_request_rejected"
    title = "The sign-in service did not accept the portal's request"
    advice = (
        "Signing in cannot work until the provider's settings are changed. "
        "Send the request id below to the administrator of your organisation."
    )

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(detail)
        self.error = error


class IssuerMissing(BadRequest):
    """A third-party initiated login does not name exactly one issuer (OIDC Core 4)."""

    code = "issuer_missing"
    title = "This sign-in link is incomplete"
    advice = (
        "The link you followed does not say which sign-in service it is for. "
        "Start the sign-in from here, or tell the person who gave you the link."
    )


class IssuerUnknown(BadRequest):
    """A third-party initiated login names an issuer that this organisation does not use (OIDC Core 4)."""

    code = "issuer_unknown"
    title = "This organisation does not use that sign-in service"
    advice = (
        "The link you followed names a sign-in service that this organisation does not use. "
        "Start the sign-in from here, or tell the person who gave you the link."
    )


class ProviderDenied(LoginRejected):
    """The provider responded with an error.

    Parameters: error, the provider's error code; description, its description, truncated, to be displayed as
    plain text; log_description, the same for the log, with possible secrets removed; cancelled, whether the
    user has ended the sign-in there.
    """

    code = "provider_denied"
    title = "Sign-in was denied"

    def __init__(
        self,
        error: str,
        description: str | None,
        *,
        title: str,
        advice: str,
        status: int,
        log_description: str = "",
        cancelled: bool = False,
    ) -> None:
        detail = f"the provider responded with error={error}"
        super().__init__(
            f"{detail}: {log_description}" if log_description else detail, explanation=description
        )
        self.error = error
        self.title = title
        self.advice = advice
        self.status = status
        self.cancelled = cancelled


class MetadataRejected(LoginRejected):
    """The provider's metadata is invalid (OIDC Discovery 4.3)."""

    status = 502
    code = "metadata_rejected"
    title = "The sign-in service of this organisation is not set up correctly"
    advice = "Ask the administrator of your organisation to check the provider's settings."


class KeysRejected(MetadataRejected):
    """The provider's key set is invalid."""

    code = "keys_rejected"


class TokenRequestRejected(LoginRejected):
    """The token endpoint rejected a request; `error` is its OAuth error code (RFC 6749 5.2)."""

    status = 502
    code = "token_request_rejected"
    title = "The sign-in service did not accept the portal"
    advice = (
        "Start the sign-in again. If it fails once more, ask the administrator of your organisation "
        "to check the client settings of the provider."
    )

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(detail)
        self.error = error


class ClientKeyMissing(LoginRejected):
    """The portal lacks the client key that this provider's registration needs."""

    status = 503
    code = "own_key_missing"
    title = "The portal is not ready to use this sign-in service"
    advice = (
        "Nothing is lost. Tell the operator of the portal the request id below: "
        "`portal key rotate` adds the missing keys."
    )


class TokenResponseMalformed(LoginRejected):
    """The token endpoint's response violates RFC 6749 5.1."""

    status = 502
    code = "token_response_malformed"
    refresh_token: object = None
    """The refresh token (a Secret) that the invalid response to a refresh request contains, if any."""


class LoginTooLarge(TokenResponseMalformed):
    """Claims and tokens of a login exceed the size that the portal stores."""

    code = "login_too_large"
    title = "Your account has too much data for the portal"
    advice = (
        "You are not signed in. Ask the administrator of your organisation to configure the sign-in service "
        "to send fewer groups, roles or other data about you to the portal. Tell them the request id below."
    )
    unread = False
    """Whether the whole response was too large to be read, so that its refresh token is unknown."""


class TokenNotBound(TokenResponseMalformed):
    """The token endpoint issued a Bearer token instead of one bound to the login's key (RFC 9449 5)."""

    code = "token_not_bound"
    title = "The sign-in service issued a token without the required protection"
    advice = (
        "You are not signed in. Ask the administrator of your organisation to enable DPoP for the portal "
        "at the provider, or to remove dpop from the portal's settings."
    )


class TokenCertificateMismatch(PortalError):
    """The access token is bound to a different certificate than the one in use (RFC 8705 3.1)."""

    status = 502
    code = "token_of_another_certificate"
    title = "This organisation's API cannot be called with this sign-in"
    advice = (
        "Sign out of this organisation and sign in again. If that does not help, ask its administrator to "
        "compare the certificate in the portal's settings with the one that the provider binds tokens to."
    )


class UserInfoRejected(LoginRejected):
    """The UserInfo response broke a rule (OIDC Core 5.3); `rule` names it."""

    status = 502
    code = "userinfo_rejected"
    advice = (
        "Start the sign-in again. If it fails once more, ask the administrator of your organisation to check "
        "the provider's UserInfo endpoint, or to remove userinfo from the portal's settings."
    )

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


class UserInfoSubjectMismatch(UserInfoRejected):
    """The UserInfo response is about another user than the ID token (OIDC Core 5.3.2)."""

    code = "userinfo_subject_mismatch"
    title = "The sign-in service sent data about two different users"
    advice = (
        "You are not signed in. Start the sign-in again; if it fails once more, tell the administrator of "
        "your organisation the request id below."
    )


class IdTokenRejected(LoginRejected):
    """The ID token broke a rule; `rule` names it."""

    code = "id_token_rejected"

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


class ReauthenticationMissing(IdTokenRejected):
    """The provider did not authenticate the user again, although `prompt=login` or `max_age` requires it.

    Parameters: signed_in_at, `auth_time` of the ID token, in seconds since the epoch, UTC; None without one.
    """

    code = "not_signed_in_anew"
    title = "The sign-in service did not ask you to sign in again"
    advice = (
        "This sign-in was not accepted. Sign out at the sign-in service itself, or close the browser, then "
        "start again. If it fails once more, tell the administrator of your organisation that the sign-in "
        "service does not follow prompt=login and max_age, and send them the request id below."
    )

    def __init__(self, rule: str, detail: str, *, signed_in_at: float | None = None) -> None:
        super().__init__(rule, detail)
        statement = sentence("does not say when you signed in there")
        if signed_in_at is not None:
            time = moment(signed_in_at, date=True)
            statement = sentence("says that you signed in there on %(time)s", time=time)
        self.advice = sentence(
            "The portal asked for a new sign-in, and the sign-in service %(statement)s. %(advice)s",
            statement=statement,
            advice=sentence(type(self).advice),
        )


class ClientRejected(TokenRequestRejected):
    """The provider rejects the portal's client authentication at a refresh; the login is kept meanwhile."""

    status = 503
    code = "client_rejected"
    title = "The sign-in service of this organisation does not accept the portal"
    advice = (
        "You are still signed in, but calls cannot be made for you until the administrator of your "
        "organisation has corrected the portal's client settings. Send them the request id below."
    )

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(error, detail)
        self.retry_after = 60


# --- logouts initiated by a provider


class LogoutRequestRejected(BadRequest):
    """A provider's logout request broke a rule; `rule` names it. No login was ended.

    Parameters: provider, id of the registration that the request is for, if known.
    """

    code = "logout_request_rejected"
    title = "This sign-out was not accepted"
    advice = (
        "Nobody was signed out. Ask the administrator of your organisation to compare the logout addresses "
        "registered at the sign-in service with those of the portal."
    )

    def __init__(self, rule: str, detail: str, *, provider: str | None = None) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule
        self.provider = provider


class LogoutTokenRejected(LogoutRequestRejected):
    """The logout token broke a rule of Back-Channel Logout 2.6."""

    code = "logout_token_rejected"


class LogoutTokenReplayed(LogoutTokenRejected):
    """A logout token with this `jti` was accepted before (Back-Channel Logout 2.6 step 7)."""

    code = "logout_token_replayed"


class RevocationRequestRejected(LogoutRequestRejected):
    """The body of a Global Token Revocation request broke a rule of the draft or of RFC 9493."""

    code = "revocation_request_rejected"


class RevocationTokenRejected(LogoutRequestRejected):
    """The token of a Global Token Revocation request is missing or broke a rule."""

    status = 401
    code = "revocation_token_rejected"


class RevocationSubjectUnknown(PortalError):
    """Nobody with the subject identifier of a valid Global Token Revocation request is signed in."""

    status = 404
    code = "revocation_subject_unknown"
    title = "Nobody with this identifier is signed in"
    advice = "There was nothing to end. The portal knows users only while they are signed in."


# --- refreshing


class RefreshRejected(PortalError):
    """The refresh token is no longer valid; the login has ended.

    Parameters: error, the OAuth error code with which the provider rejected it (RFC 6749 5.2); None when the
    login ended for another reason.
    """

    status = 401
    code = "login_ended"
    title = "Your sign-in at this organisation has ended"
    advice = "Sign in again to continue. Your other organisations are not affected."

    def __init__(self, detail: str, *, error: str | None = None) -> None:
        super().__init__(detail)
        self.error = error
