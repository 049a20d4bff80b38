"""The opening handshake of a WebSocket, as its server (RFC 6455 4.2)."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from tornado.httputil import HTTPHeaders

from portal.errors import WebSocketRefused, WebSocketVersionUnsupported
from portal.outbound.websocket import DEFLATE, WebSocketChoice, WebSocketOffer, accept_of
from portal.web.server.request_body import has_body
from portal.web.server.request_fields import RequestHeaders

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MOST_PROTOCOLS = 32
_MOST_EXTENSIONS = 16
_KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class ServerHandshake:
    """A valid handshake of a browser."""

    key: str
    offer: WebSocketOffer

    def response_head(self, choice: WebSocketChoice, request_id: str) -> bytes:
        """The response 101 for what the server chose."""
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {accept_of(self.key)}",
            f"X-Request-Id: {request_id}",
        ]
        if choice.protocol:
            lines.append(f"Sec-WebSocket-Protocol: {choice.protocol}")
        if choice.extension:
            lines.append(f"Sec-WebSocket-Extensions: {choice.extension}")
        return "\r\n".join([*lines, "", ""]).encode("ascii")


def asks_for_websocket(headers: HTTPHeaders) -> bool:
    """Whether a request asks for a WebSocket, in a valid form or not.

    Other upgrades are ignored, and those that Connection does not name (RFC 9110 7.8).
    """
    if not isinstance(headers, RequestHeaders):
        return _asks_for_websocket(headers)
    known: bool | None = headers.derived.get(_asks_for_websocket)
    if known is None:
        known = headers.derived[_asks_for_websocket] = _asks_for_websocket(headers)
    return known


def _asks_for_websocket(headers: HTTPHeaders) -> bool:
    return (
        "Upgrade" in headers
        and "websocket" in _list(headers, "Upgrade", lower=True)
        and "upgrade" in _list(headers, "Connection", lower=True)
    )


def read_handshake(method: str, version: str, headers: HTTPHeaders) -> ServerHandshake:
    """Check a request for a WebSocket (RFC 6455 4.2.1).

    Raises: WebSocketRefused, WebSocketVersionUnsupported.
    """
    if method != "GET" or version != "HTTP/1.1" or has_body(headers):
        raise WebSocketRefused("not a GET in HTTP/1.1 without a body")
    if _list(headers, "Upgrade", lower=True) != ["websocket"]:
        raise WebSocketRefused("the request names several protocols in Upgrade")
    versions = headers.get_list("Sec-WebSocket-Version")
    if len(versions) != 1:
        raise WebSocketRefused("not exactly one Sec-WebSocket-Version")
    if versions[0] != "13":
        raise WebSocketVersionUnsupported("another Sec-WebSocket-Version than 13")
    keys = headers.get_list("Sec-WebSocket-Key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise WebSocketRefused("not exactly one valid Sec-WebSocket-Key")
    return ServerHandshake(keys[0], WebSocketOffer(_protocols(headers), _extensions(headers)))


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def _protocols(headers: HTTPHeaders) -> tuple[str, ...]:
    if not headers.get_list("Sec-WebSocket-Protocol"):
        return ()
    offered = _list(headers, "Sec-WebSocket-Protocol")
    valid = len(offered) <= _MOST_PROTOCOLS and all(_TOKEN.fullmatch(one) for one in offered)
    if not valid or len(set(offered)) != len(offered):
        raise WebSocketRefused("Sec-WebSocket-Protocol is invalid")
    return tuple(offered)


def _extensions(headers: HTTPHeaders) -> tuple[str, ...]:
    """The offers of permessage-deflate; the portal does not pass on any other extension."""
    offered = _list(headers, "Sec-WebSocket-Extensions")[:_MOST_EXTENSIONS]
    return tuple(one for one in offered if DEFLATE.fullmatch(one))


def _list(headers: HTTPHeaders, name: str, *, lower: bool = False) -> list[str]:
    """The comma-separated values of a field."""
    joined = ",".join(headers.get_list(name))
    return [part.strip() for part in (joined.lower() if lower else joined).split(",")]
