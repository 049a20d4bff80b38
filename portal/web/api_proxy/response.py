"""Headers of responses at `/t/{tenant}/api/…`, for API responses and the portal's own problems."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import urlencode

from tornado import httputil

from portal.errors import (
    LoginRequired,
    OutboundFailed,
    OutboundTimeout,
    PortalError,
    UpstreamTimeout,
    UpstreamUnavailable,
    WebSocketVersionUnsupported,
)
from portal.oidc.api_errors import ApiLoginRequired
from portal.oidc.errors import RefreshRejected
from portal.web.api_proxy.rules import RESPONSE_HEADERS
from portal.web.problems import PROBLEM_HEADERS, problem
from portal.web.step_up_errors import StepUpRequired

_INVALID = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
"""What a field value cannot contain (RFC 9110 5.5)."""


class ResponseHeaders(httputil.HTTPHeaders):
    """The headers of one response as a list, followed by `RESPONSE_HEADERS` (see EncodedHeaders).

    A list, because nearly all headers of an API are passed on as they came, and looked up by nobody.
    Parameters: fields, names and values; names are tokens. Raises: UpstreamUnavailable for an invalid value.
    """

    encoded = "".join(f"{name}: {value}\r\n" for name, value in RESPONSE_HEADERS).encode("ascii")

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self._fields = list(fields)
        self._first = {name.lower(): value for name, value in reversed(self._fields)}
        if _INVALID.search("".join([value for _, value in self._fields])):
            raise UpstreamUnavailable("a header of the API's response has invalid characters")

    def get_others(self) -> list[tuple[str, str]]:
        return self._fields

    def get_all(self) -> Iterator[tuple[str, str]]:
        yield from self._fields
        yield from RESPONSE_HEADERS

    def find(self, name: str) -> str | None:
        """The first value of a header; None when there is none. Parameters: name, in lower case."""
        return self._first.get(name)

    def add(self, name: str, value: str, *, _chars_are_bytes: bool = True) -> None:
        self._fields.append((name, value))
        self._first.setdefault(name.lower(), value)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._first

    def __getitem__(self, name: str) -> str:
        return self._first[name.lower()]

    def __setitem__(self, name: str, value: str) -> None:
        if name in self:
            del self[name]
        self.add(name, value)

    def __delitem__(self, name: str) -> None:
        known = name.lower()
        del self._first[known]
        self._fields = [field for field in self._fields if field[0].lower() != known]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def problem_response(error: PortalError, *, request_id: str, slug: str) -> tuple[ResponseHeaders, bytes]:
    """Return headers and body of an error. `login_url` is where a page can sign in again."""
    more: dict[str, object] = {}
    if isinstance(error, ApiLoginRequired):
        more["login_url"] = error.url_back_to(slug, f"/t/{slug}/")
    elif isinstance(error, LoginRequired | RefreshRejected):
        more["login_url"] = f"/t/{slug}/login?{urlencode({'return_to': f'/t/{slug}/'})}"
    elif isinstance(error, StepUpRequired):
        more["login_url"] = error.url_back_to(f"/t/{slug}/")
    body = problem(error, request_id, **more).encode()
    headers = ResponseHeaders([*PROBLEM_HEADERS, ("Content-Length", str(len(body)))])
    if isinstance(error, WebSocketVersionUnsupported):
        headers["Sec-WebSocket-Version"] = "13"  # RFC 6455 4.4
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return headers, body


def api_failure(error: Exception) -> Exception:
    """Return the error of a call for the error that stopped the API's response; any other unchanged."""
    if isinstance(error, OutboundTimeout):
        return UpstreamTimeout(f"the API's response stopped: {error.detail}")
    if isinstance(error, OutboundFailed):
        return UpstreamUnavailable(f"the API's response broke off: {error.detail}")
    return error
