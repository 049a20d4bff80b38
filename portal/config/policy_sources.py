"""Directives and sources of a Content-Security-Policy that a front end may widen (CSP Level 3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from portal.config.field_types import expected, refused, unknown_word

FETCH_DIRECTIVES = (
    "default-src",
    "script-src",
    "style-src",
    "img-src",
    "font-src",
    "connect-src",
    "media-src",
    "frame-src",
    "worker-src",
    "manifest-src",
)
"""CSP 6.1; `object-src` stays 'none'."""
FRAME_ANCESTORS = "frame-ancestors"
DIRECTIVES = (*FETCH_DIRECTIVES, "form-action", FRAME_ANCESTORS)
"""What `csp` may widen; `base-uri` and `object-src` stay 'none'."""

_KEYWORDS = ("'self'", "'strict-dynamic'", "'report-sample'", "'wasm-unsafe-eval'")
_UNSAFE = ("'unsafe-inline'", "'unsafe-eval'", "'unsafe-hashes'")
_BARE_WORDS = frozenset(word.strip("'") for word in (*_KEYWORDS, *_UNSAFE)) | {"none"}
_HASH = re.compile(r"'sha(?:256|384|512)-[A-Za-z0-9+/_-]{43,88}={0,2}'")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,30}:")
_HOST = re.compile(
    r"(?P<scheme>(?:https?|wss?)://)?"
    r"(?P<host>\*|(?:\*\.)?[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){0,10}|\[[0-9a-f:.]{2,45}\])"
    r"(?::(?:[0-9]{1,5}|\*))?"
    r"(?P<path>/[A-Za-z0-9\-._~!$&'()*+=:@%/]{0,300})?"
)
_LONGEST = 400


def _directive(name: str) -> str:
    if name not in DIRECTIVES:
        raise unknown_word(DIRECTIVES)
    return name


def _source(text: str) -> str:
    """One source of CSP 2.3.1: a scheme, a host, a keyword or a hash."""
    if text.lower() in _BARE_WORDS:
        raise refused(
            "must have single quotes inside the double ones, such as \"'self'\"; 'none' cannot widen"
        )
    if text in _KEYWORDS or text in _UNSAFE or _HASH.fullmatch(text):
        return text
    if len(text) > _LONGEST or not (_SCHEME.fullmatch(text) or _HOST.fullmatch(text)):
        raise expected(
            "one source of a Content-Security-Policy, such as https://cdn.example.com, data:, "
            "\"'unsafe-inline'\" or a hash"
        )
    return text


def _safe_source(text: str) -> str:
    if text in _UNSAFE:
        raise refused("allows scripts or styles in the page's text; only front_ends of portal.yaml may do so")
    return text


def check_frame_ancestors(csp: Mapping[str, object]) -> None:
    """Refuse `frame-ancestors` that let every site of a kind frame the pages. Raises: `refused`."""
    sources = csp.get(FRAME_ANCESTORS, ())
    for source in sources if isinstance(sources, list) else ():
        found = _HOST.fullmatch(source)
        if source != "'self'" and (found is None or found["host"] == "*"):
            raise refused(
                "has frame-ancestors that are neither \"'self'\" nor the origin of a site", key="csp"
            )


Directive = Annotated[
    str, AfterValidator(_directive), WithJsonSchema({"type": "string", "enum": list(DIRECTIVES)})
]
_SOURCE_SCHEMA = WithJsonSchema({"type": "string", "title": "source", "minLength": 1})
Source = Annotated[str, AfterValidator(_source), _SOURCE_SCHEMA]
SafeSource = Annotated[str, AfterValidator(_source), AfterValidator(_safe_source), _SOURCE_SCHEMA]
