"""A request in progress on a connection, and its response."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from portal.errors import OutboundFailed
from portal.outbound.response_parser import ResponseParser
from portal.outbound.stream import OutboundStream
from portal.outbound.upload import Upload
from portal.outbound.websocket import ClientHandshake


class ConnectionClosedEarly(OutboundFailed):
    """The connection was closed before a byte of the response arrived."""


@dataclass(slots=True)
class Exchange:
    """A request in progress and its response."""

    method: str
    head_timeout: float
    idle_timeout: float
    transport: asyncio.Transport
    parser: ResponseParser
    head: asyncio.Future[OutboundStream]
    handshake: ClientHandshake | None
    stream: OutboundStream | None = None
    upload: Upload | None = None
    has_begun: bool = False
