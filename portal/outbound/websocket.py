"""The opening handshake of a WebSocket, as its client (RFC 6455 4.1)."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field

from portal.errors import OutboundFailed
from portal.outbound.response_parser import ResponseHead

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = rf'[ \t]*;[ \t]*{_WORD}(?:[ \t]*=[ \t]*(?:{_WORD}|"{_WORD}"))?+'
DEFLATE = re.compile(rf"permessage-deflate(?:{_PARAMETER})*+", re.IGNORECASE)
"""One offer or choice of permessage-deflate (RFC 7692 7), as it is sent."""


@dataclass(frozen=True, slots=True)
class WebSocketOffer:
    """What the browser offers. Parameters: protocols, subprotocols in its order of preference."""

    protocols: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    """Its offers of permessage-deflate, which the portal passes on: it reads no payload."""


@dataclass(frozen=True, slots=True)
class WebSocketChoice:
    """What the server chose of an offer; empty: nothing."""

    protocol: str = ""
    extension: str = ""


@dataclass(frozen=True, slots=True)
class ClientHandshake:
    """The handshake of one connection."""

    offer: WebSocketOffer
    key: str = field(default_factory=lambda: base64.b64encode(secrets.token_bytes(16)).decode("ascii"))
    """Sec-WebSocket-Key: a nonce."""

    def headers(self) -> list[tuple[str, str]]:
        """The header fields of the request."""
        fields = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", self.key),
        ]
        if self.offer.protocols:
            fields.append(("Sec-WebSocket-Protocol", ", ".join(self.offer.protocols)))
        if self.offer.extensions:
            fields.append(("Sec-WebSocket-Extensions", ", ".join(self.offer.extensions)))
        return fields

    def choice(self, head: ResponseHead) -> WebSocketChoice:
        """Check a response with status 101 (RFC 6455 4.1). Raises: OutboundFailed."""
        upgrade = _values(head, "upgrade")
        if [value.lower() for value in upgrade] != ["websocket"]:
            raise OutboundFailed("the server upgraded to another protocol than WebSocket")
        options = [part.strip().lower() for value in _values(head, "connection") for part in value.split(",")]
        if "upgrade" not in options:
            raise OutboundFailed("the response 101 has no Connection: Upgrade")
        if _values(head, "sec-websocket-accept") != [accept_of(self.key)]:
            raise OutboundFailed("the Sec-WebSocket-Accept of the response is wrong")
        return WebSocketChoice(self._protocol(head), self._extension(head))

    def _protocol(self, head: ResponseHead) -> str:
        chosen = _values(head, "sec-websocket-protocol")
        if not chosen:
            return ""
        if len(chosen) > 1 or chosen[0] not in self.offer.protocols:
            raise OutboundFailed("the server chose a subprotocol that was not offered")
        return chosen[0]

    def _extension(self, head: ResponseHead) -> str:
        chosen = _values(head, "sec-websocket-extensions")
        if not chosen:
            return ""
        if len(chosen) > 1 or not self.offer.extensions or DEFLATE.fullmatch(chosen[0]) is None:
            raise OutboundFailed("the server chose an extension that was not offered")
        return chosen[0]


def accept_of(key: str) -> str:
    """Sec-WebSocket-Accept for a key (RFC 6455 4.2.2)."""
    digest = hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode("ascii")


def _values(head: ResponseHead, name: str) -> list[str]:
    return [value for field_name, value in head.headers if field_name.lower() == name]
