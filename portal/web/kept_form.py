"""A form that was posted after the session had ended, for a page from which it can be sent again.

The portal stores nothing of it: the page contains the fields, and its button posts them to the same address.
Only what a page of the portal's own origin has sent is repeated, so no other site can prepare such a page
(THREATS S1).
"""

from __future__ import annotations

from dataclasses import dataclass

from tornado.httputil import HTTPServerRequest

from portal.errors import BadRequest
from portal.web.forms import posted_form
from portal.web.origin import Origin, origin_of

_MOST_BYTES = 128 * 1024
"""Of names and values. The largest form of the console has a draft of 64 KB."""
_TOKEN = "_xsrf"  # noqa: S105 - the name of a field; the page has the browser's own


@dataclass(frozen=True, slots=True)
class KeptForm:
    """A form to send again. Names and values are untrusted text."""

    action: str
    """A path of the portal."""
    fields: tuple[tuple[str, str], ...]


def kept_form(request: HTTPServerRequest, *, origin: str) -> KeptForm | None:
    """The form that a request has posted; None when there is none to keep.

    Parameters: origin, that of the request's site.
    """
    if request.method != "POST" or origin_of(request.headers, origin) is not Origin.SAME:
        return None
    if not request.path.startswith(("/admin/", "/t/")):
        return None
    try:
        form = posted_form(request)
    except BadRequest:
        return None
    fields = tuple((name, value) for name, values in form.items() if name != _TOKEN for value in values)
    if not fields or sum(len(name) + len(value) for name, value in fields) > _MOST_BYTES:
        return None
    return KeptForm(request.path, fields)
