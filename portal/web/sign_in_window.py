"""The window that portal.js opens for a sign-in: each of its pages leads back into the sign-in, or closes it.

Its end is `/t/{tenant}/signed-in`, which tells the page that waits and closes the window. Whether a page
is in such a window follows from `return_to` of the sign-in, or from its state when nothing else is
left of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlencode

from portal.errors import (
    BadRequest,
    CrossSiteRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    PortalError,
    StoreUnavailable,
)
from portal.oidc.errors import ProviderUnavailable
from portal.sentences import message
from portal.web.step_up_errors import StepUpLinkMalformed
from portal.web.views import Chrome

MARK = "window"
"""A parameter of `/t/{tenant}/cookie-check`."""
_IN_THE_OTHER_WINDOW = message(
    "Nothing was done. Close this window, and try again in the window you came from."
)
_ADVICE: Mapping[type[PortalError], str] = {
    BadRequest: _IN_THE_OTHER_WINDOW,
    CrossSiteRequest: _IN_THE_OTHER_WINDOW,
    MethodNotAllowed: _IN_THE_OTHER_WINDOW,
    PayloadTooLarge: _IN_THE_OTHER_WINDOW,
    NotFound: message(
        "The page that opened this window asked for an organisation or a sign-in service that is not here. "
        "Close this window, and load that page again."
    ),
    StepUpLinkMalformed: message(
        "The page that opened this window asked for a kind of sign-in that cannot be requested. You are "
        "still signed in as before. Close this window, and try again in the window you came from."
    ),
}
"""What to do in the window, for errors whose own advice leads to pages that it does not have."""


def advice_in_window(error: PortalError) -> str:
    """Return what an error page in the window says what to do."""
    return _ADVICE.get(type(error), error.advice)


def passes_by_itself(error: PortalError) -> bool:
    """Whether the advice of an error is to try again, without anything else to do."""
    return isinstance(error, ProviderUnavailable | StoreUnavailable) or error.advice == PortalError.advice


def window_end(tenant: str) -> str:
    """The path at which a sign-in in a window of its own ends."""
    return f"/t/{tenant}/signed-in"


def sign_in_again_url(tenant: str) -> str:
    """The path that begins the sign-in of a window once more."""
    return f"/t/{tenant}/login?{urlencode({'return_to': window_end(tenant)})}"


def of_window(chrome: Chrome) -> Chrome:
    """The common parts of a page in such a window: nothing that would lead away from the sign-in."""
    product = replace(chrome.product, support_url=None, legal_url=None)
    return replace(
        chrome,
        signed_in=(),
        people=(),
        again=(),
        console_url=None,
        product=product,
        session=None,
        window=True,
    )
