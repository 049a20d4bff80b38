"""Why a setup link cannot be made, revoked or opened."""

from __future__ import annotations

from portal.errors import BadRequest, NotFound, PortalError


class SetupLinkUnknown(NotFound):
    """No setup link has this token."""

    code = "setup_link_unknown"
    title = "This setup link does not work"
    advice = "Check that you copied all of it. If you did, ask whoever sent it to you for a new one."


class SetupLinkEnded(PortalError):
    """The setup link has expired."""

    status = 410
    code = "setup_link_ended"
    title = "This setup link has expired"
    advice = "Nothing that was saved with it is lost. Ask whoever sent it to you for a new one."


class SetupLinkRevoked(SetupLinkEnded):
    """An operator revoked the setup link."""

    title = "This setup link was revoked"
    advice = "Ask whoever sent it to you whether you need a new one."


class SetupLinkTaken(PortalError):
    """The setup link is bound to another browser."""

    status = 403
    code = "setup_link_taken"
    title = "This setup link was already opened in another browser"
    advice = (
        "It works only in the browser in which it was started first, with that browser's cookies. Go on "
        "there, or ask whoever sent it to you for a new one. If nobody you know has opened it, tell them so."
    )


class SetupCookieMissing(BadRequest):
    """The browser did not send the cookie that the page of the link had set."""

    code = "setup_cookie_missing"
    title = "This browser did not keep the portal's cookie"
    advice = "The link has not been used. Allow cookies for this site, then open the link again."


class TooManySetupLinks(PortalError):
    """The tenant has as many live setup links as it may have."""

    status = 409
    code = "too_many_setup_links"
    title = "This organisation has too many setup links"
    advice = "Revoke those that are not needed any more."


class SetupLinkMissing(PortalError):
    """The tenant has no setup link with this id that could be revoked."""

    status = 404
    code = "setup_link_missing"
    title = "There is no such setup link"
