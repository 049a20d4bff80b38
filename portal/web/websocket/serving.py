"""Serves one WebSocket: upgrades the browser's connection and relays it to a server that has accepted."""

from __future__ import annotations

from dataclasses import dataclass

from tornado.httputil import HTTPConnection
from tornado.iostream import StreamClosedError

from portal.errors import AccessDenied, LoginRequired, NotFound, PortalError, WebSocketUnsupported
from portal.outbound.client import OutboundClient
from portal.outbound.stream import OutboundStream
from portal.outbound.tunnel import Tunnel
from portal.web.server.client_connection import client_connection
from portal.web.server.http_exchange import HttpExchange
from portal.web.websocket.direction import TenantShare
from portal.web.websocket.handshake import ServerHandshake, read_handshake
from portal.web.websocket.open_sockets import OpenSockets
from portal.web.websocket.relay import SERVICE_RESTART, SocketRelay

LOGIN_ENDED = 4401
ACCESS_DENIED = 4403
NOT_FOUND = 4404


@dataclass(slots=True)
class ServedSocket:
    """The WebSocket of one request. Parameters: handshake, of the browser, which was checked."""

    exchange: HttpExchange
    handshake: ServerHandshake
    request_id: str
    relay: SocketRelay | None = None

    async def serve(self, sockets: OpenSockets, tunnel: Tunnel, shared: TenantShare) -> None:
        """Accept the browser's handshake, and relay until both connections are closed.

        Parameters: shared, with all sockets of its tenant, from `OpenSockets.place`.
        Raises: StreamClosedError when the browser has disconnected.
        """
        connection = client_connection(self.exchange)
        if connection is None or connection.closed():
            raise StreamClosedError
        self.relay = SocketRelay(connection, tunnel, rate=sockets.limits.socket_frames, shared=shared)
        self.exchange.upgrade(self.relay, sockets.memory)
        self.relay.begin(self.handshake.response_head(tunnel.choice, self.request_id))
        await sockets.serve(self.relay)

    def cut(self, error: PortalError) -> None:
        """End the socket because of an error: with a Close frame that tells the page why."""
        if self.relay is None:
            return
        if isinstance(error, LoginRequired):
            self.relay.close(LOGIN_ENDED, "the sign-in ended", cut_reason="login")
        elif isinstance(error, AccessDenied):
            self.relay.close(ACCESS_DENIED, "access denied", cut_reason="access")
        elif isinstance(error, NotFound):
            self.relay.close(NOT_FOUND, "not found", cut_reason="tenant")
        else:
            self.relay.close(SERVICE_RESTART, "the API changed", cut_reason="api")

    @property
    def passed(self) -> tuple[int, int] | None:
        """Bytes that were received from the browser and sent to it; None when the socket was not opened."""
        return (self.relay.to_server.bytes, self.relay.to_browser.bytes) if self.relay is not None else None


def socket_of(connection: HTTPConnection, request_id: str) -> ServedSocket:
    """Check the handshake of a request that asks for a WebSocket.

    Raises: WebSocketUnsupported, WebSocketRefused, WebSocketVersionUnsupported.
    """
    if not isinstance(connection, HttpExchange):
        raise WebSocketUnsupported("the setting server is tornado")
    line, headers = connection.head.start_line, connection.head.headers
    handshake = read_handshake(line.method, line.version, headers)
    return ServedSocket(connection, handshake, request_id)


async def relay_to(
    url: str, exchange: HTTPConnection, http: OutboundClient, sockets: OpenSockets, *, request_id: str
) -> OutboundStream | None:
    """Relay a WebSocket of a browser to a server of the operator, such as a development server.

    The caller has checked that a page of the portal's own origin asks. The server gets neither cookies nor
    tokens, only the handshake; its subprotocol is passed on.
    Parameters: url, http or https; exchange, of the request, on which no response has been written; http,
    which may connect to the URL.
    Return None when the socket has ended. When the server did not accept, return its response: relay it as
    that of a request, close the connection after it, and `aclose` the stream.
    Raises: WebSocketUnsupported, WebSocketRefused, WebSocketVersionUnsupported, UpstreamBusy;
    OutboundRefused, OutboundFailed; StreamClosedError when the browser has disconnected.
    """
    served = socket_of(exchange, request_id)
    served.exchange.close_after_response()
    with sockets.place("", "") as shared:
        response = await http.open_stream("GET", url, tenant="", websocket=served.handshake.offer)
        if not isinstance(response, Tunnel):
            return response
        try:
            await served.serve(sockets, response, shared)
        finally:
            response.close()
    return None
