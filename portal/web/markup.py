"""Escaping for pages: every value of a template is text, unless it is `Markup`."""

from __future__ import annotations

import re

from tornado.escape import xhtml_escape

_has_special = re.compile(r"""[&<>"']""").search
_has_special_byte = re.compile(rb"""[&<>"']""").search


class Markup(bytes):
    """HTML that the portal made, in UTF-8. Whoever makes it must have escaped every value in it."""

    __slots__ = ()


def escaped(value: str | bytes) -> str | bytes:
    """Escape a value for HTML, as Tornado's `xhtml_escape`; a value that needs none is returned as it is."""
    if type(value) is Markup:
        return value
    has_special = _has_special_byte(value) if isinstance(value, bytes) else _has_special(value)
    return xhtml_escape(value) if has_special else value
