"""The window that portal.js opens for a sign-in: each of its pages leads back into the sign-in, or closes it.

Its end is `/t/{tenant}/signed-in`, which tells the page that waits and closes the window. Whether a page
is in such a window follows from `return_to` of the sign-in, or from its state when nothing else is
left of it.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlencode

from portal.web.views import Chrome

MARK = "window"
"""A parameter of `/t/{tenant}/cookie-check`."""


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
