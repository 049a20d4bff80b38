"""A request as it is sent (RFC 9112): checked, and otherwise byte for byte as the caller gave it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from portal.errors import OutboundRefused
from portal.outbound.tls import DEFAULT_TLS, Tls
from portal.outbound.websocket import ClientHandshake

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_HEADERS = re.compile(r"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++: [^\0\r\n]*+\r\n)*+")  # RFC 9110 5.5
_FRAMING = frozenset({"host", "content-length", "transfer-encoding"})
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})  # RFC 9110 9.2.2
_USUALLY_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_DEFAULT_PORTS = {"https": 443, "http": 80}


class Origin(NamedTuple):
    """Scheme, host and port of a URL; `host` as in the URL, in lower case and without a final dot."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The value of the Host header: without the default port of the scheme."""
        return self.host if self.port == _DEFAULT_PORTS[self.scheme] else f"{self.host}:{self.port}"

    @property
    def host_name(self) -> str:
        """The host for name lookups and TLS: without brackets (RFC 3986 3.2.2)."""
        return self.host.strip("[]")


@dataclass(slots=True, eq=False)
class OutboundRequest:
    """A request to one origin.

    Parameters: tenant, on whose behalf it is sent: connections, name lookups and limits are never shared
    between tenants; target, path and query as in the URL; body, bytes, or an iterator that is read once;
    encoded, more headers, made by `encode_headers`; connect_timeout, seconds in total to wait for a free
    connection, look up the name, and set up TCP and TLS;
    head_timeout, seconds from the end of the request until the head of the response is complete;
    idle_timeout, longest pause in seconds between two pieces of a body, sent or received; longest_idle,
    seconds that the connection may have been idle; of_browser, whether it is an API call of a browser: such
    calls and the portal's own requests never share a connection, so that a misdirected response cannot show
    tokens to a browser or be taken for tokens; handshake, to open a WebSocket: the connection then carries no
    other request, whatever the response is.
    """

    method: str
    origin: Origin
    target: str = field(repr=False)
    headers: Sequence[tuple[str, str]] = field(repr=False)
    body: bytes | AsyncIterator[bytes] | None = field(repr=False)
    tenant: str
    encoded: bytes = field(default=b"", repr=False)
    tls: Tls = DEFAULT_TLS
    connect_timeout: float = 5.0
    head_timeout: float = 60.0
    idle_timeout: float = 60.0
    longest_idle: float = 15.0
    of_browser: bool = False
    handshake: ClientHandshake | None = None

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again when the connection was closed during it (RFC 9110 9.2.2)."""
        return self.method in _IDEMPOTENT and (self.body is None or isinstance(self.body, bytes))

    def declared_length(self) -> int | None:
        """The Content-Length among the caller's headers; None when there is none.

        Raises: OutboundRefused when it is not a number.
        """
        for name, value in self.headers:
            if name.lower() == "content-length":
                if not value.isdecimal():
                    raise OutboundRefused("headers: Content-Length is not a number")
                return int(value)
        return None

    def head(self) -> bytes:
        """The request line and headers: Host, the caller's headers, then the framing of the body.

        Raises: OutboundRefused when one of them would break the framing of the request.
        """
        if not _TOKEN.fullmatch(self.method):
            raise OutboundRefused("headers: the method contains forbidden characters")
        first = f"{self.method} {self.target} HTTP/1.1\r\nHost: {self.origin.authority}\r\n"
        own = _encoded([*self.headers, *self.handshake.headers()] if self.handshake else self.headers)
        return b"%b%b%b%b\r\n" % (_latin_1(first), self.encoded, own, self._framing())

    def _framing(self) -> bytes:
        length = self.declared_length()
        if self.body is not None and not isinstance(self.body, bytes):
            return b"" if length is not None else b"Transfer-Encoding: chunked\r\n"
        size = len(self.body or b"")
        if length is not None:
            if length != size:
                raise OutboundRefused("headers: Content-Length is not the length of the body")
            return b""
        if size or self.method not in _USUALLY_WITHOUT_BODY:
            return b"Content-Length: %d\r\n" % size
        return b""


def encode_headers(headers: Iterable[tuple[str, str]]) -> bytes:
    """Headers that do not frame the body, as they are sent.

    Raises: OutboundRefused when one of them would break the framing of a request.
    """
    headers = list(headers)
    if any(name.lower() in _FRAMING for name, _ in headers):
        raise OutboundRefused("headers: a header frames the body")
    return _encoded(headers)


def _encoded(headers: Sequence[tuple[str, str]]) -> bytes:
    text = "".join([f"{name}: {value}\r\n" for name, value in headers])
    names = "".join([name for name, _ in headers])
    if ":" in names or text.count("\n") != len(headers) or _HEADERS.fullmatch(text) is None:
        raise OutboundRefused("headers: a header contains forbidden characters")
    return _latin_1(text)


def _latin_1(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise OutboundRefused("headers: a header contains characters outside ISO 8859-1") from None


def split_url(url: str) -> tuple[Origin, str]:
    """Origin and request target of a URL that `check_url` accepts (RFC 9112 3.2.1)."""
    scheme, _, rest = url.partition("://")
    end = next((index for index, letter in enumerate(rest) if letter in "/?"), len(rest))
    authority, target = rest[:end], rest[end:]
    host, port = authority, ""
    if not authority.endswith("]"):
        name, colon, number = authority.rpartition(":")
        if colon:
            host, port = name, number
    scheme = scheme.lower()
    origin = Origin(scheme, host.lower().rstrip("."), int(port) if port else _DEFAULT_PORTS[scheme])
    return origin, target if target.startswith("/") else f"/{target}"
