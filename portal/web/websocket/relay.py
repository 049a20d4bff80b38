"""Relays one WebSocket between a browser and a server, until either ends or the portal ends it.

The portal reads no payload. It may send a Ping or a Close frame of its own between two frames. Both ends are
closed together: what remains then is to let the browser read the last bytes, for a bounded time.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import cast

from portal.outbound.tunnel import Tunnel, Waiting
from portal.web.server.client_connection import LEAST_PROGRESS, ClientConnection
from portal.web.websocket.direction import Direction, TenantShare
from portal.web.websocket.frames import FrameError, FrameTracker

GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
SERVICE_RESTART = 1012
BAD_GATEWAY = 1014
"""Registered with IANA: the server behind a gateway failed."""

CLOSE_SECONDS = 10.0
"""For the closing handshake, after the first Close frame (RFC 6455 7.1.1)."""
LINGER_SECONDS = 2.0
"""For the browser to read the last bytes and to end the connection."""
STALL_SECONDS = 60.0
"""A server that takes nothing for this long is cut off. ConnectionServer does the same for browsers."""
_MOST_DROPPED = 1024
"""Small frames of a read that is dropped; with more, the Close frame is not looked for."""
PING = b"\x89\x00"


def close_frame(code: int, reason: str = "", *, masked: bool = False) -> bytes:
    """A Close frame (RFC 6455 5.5.1). Parameters: reason, in ASCII, cut after 100 characters."""
    payload = code.to_bytes(2, "big") + reason[:100].encode("ascii", "replace")
    if not masked:
        return bytes((0x88, len(payload))) + payload
    key = secrets.token_bytes(4)
    covered = bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))
    return bytes((0x88, 0x80 | len(payload))) + key + covered


class SocketRelay(asyncio.Protocol):
    """The relay of one WebSocket, and the protocol of the browser's connection.

    Parameters: connection, of the browser; tunnel, to the server; rate, how many small frames may pass in
    each direction every second; shared, with all sockets of the tenant.
    """

    def __init__(
        self, connection: ClientConnection, tunnel: Tunnel, *, rate: float, shared: TenantShare
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._tunnel = tunnel
        self._transport: asyncio.Transport | None = None
        compressed = bool(tunnel.choice.extension)
        self.to_server = Direction(
            FrameTracker(masked=True, compressed=compressed),
            rate=rate,
            shared=shared,
            write=self._write_to_server,
            failed=self._browser_failed,
            closed=self._close_has_begun,
        )
        self.to_browser = Direction(
            FrameTracker(masked=False, compressed=compressed),
            rate=rate,
            shared=shared,
            write=self._write_to_browser,
            failed=self._server_failed,
            closed=self._close_has_begun,
        )
        self._deadline: asyncio.TimerHandle | None = None
        self._ending = False
        self._lost_track = False
        """Whether the frames of the browser cannot be followed any more."""
        self._pinged_at = 0.0
        self._progress = (0, 0.0)
        """How many bytes had arrived at the browser when it was last seen to read, and when that was."""
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done when both connections are closed."""
        self.cut_reason: str | None = None
        """Why the portal ended it, for the metrics; None when the browser or the server did."""

    # --- the browser

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.to_server.source = self._transport
        self.to_browser.source = self._tunnel

    def begin(self, head: bytes) -> None:
        """Send the head of the response, then pass on what the server sends. Call it after the upgrade."""
        self._write_to_browser(head)
        self._tunnel.attach(_ServerEnd(self))

    def data_received(self, data: bytes) -> None:
        if not self._ending:
            self.to_server.data_received(data)
            return
        self._wait_for_close(data)

    def eof_received(self) -> bool:
        """The browser ended its direction: it waits for the server's Close frame, or it is gone."""
        if self._ending:
            self._close_transport()
            return False
        if self.to_server.has_waiting_data:
            self._limit(CLOSE_SECONDS)
            self.to_server.source = None  # nothing more to read
            self.to_server.finish(self._end_if_gone)
            return True
        return not self._end_if_gone()

    def _end_if_gone(self) -> bool:
        """Close both connections, and return True, unless the browser waits for the server's Close frame."""
        if self.to_server.tracker.closed and self.to_server.tracker.at_boundary:
            return False
        self.abort()
        return True

    def pause_writing(self) -> None:
        self.to_browser.hold()

    def resume_writing(self) -> None:
        self.to_browser.release()

    def connection_lost(self, error: Exception | None) -> None:
        self._end_tunnel()
        self._transport = None
        for direction in (self.to_server, self.to_browser):
            direction.source = None  # `stop` would resume a closed transport
            direction.stop()
        if self._deadline is not None:
            self._deadline.cancel()
        if not self.ended.done():
            self.ended.set_result(None)

    def _write_to_browser(self, data: bytes) -> None:
        if self._transport is not None and data:
            self._connection.written_bytes += len(data)
            self._transport.write(data)

    # --- the server

    def _write_to_server(self, data: bytes) -> None:
        if not self._tunnel.write(data):
            self.to_server.hold()
            self._tunnel.on_room(self.to_server.release)

    def server_ended(self) -> None:
        """The server closed its connection, or the connection failed."""
        if not self._ending:
            self.to_browser.finish(self._everything_passed)

    def _everything_passed(self) -> None:
        """The browser was sent everything that the server had sent before it ended."""
        if self._ending:
            return
        if self.to_browser.may_insert:
            self._write_to_browser(close_frame(BAD_GATEWAY, "the connection to the API ended"))
        self._end_tunnel()
        self._finish_browser()

    # --- the end

    def close(self, code: int, reason: str, *, cut_reason: str, server_code: int = GOING_AWAY) -> None:
        """End the socket: with a Close frame to each side that is between two frames, else without.

        Parameters: code, for the browser; reason, in ASCII, for its console; cut_reason, for the metrics;
        server_code, for the server.
        """
        if self._ending or self._transport is None:
            return
        self.cut_reason = cut_reason
        if self.to_server.may_insert:
            self._tunnel.write(close_frame(server_code, masked=True))
        inserts = self.to_browser.may_insert
        self._end_tunnel()
        if not inserts:
            self._abort()
            return
        self._write_to_browser(close_frame(code, reason))
        self._finish_browser()

    def close_at_boundary(self, code: int, reason: str, *, cut_reason: str) -> None:
        """As `close`, but let the server complete a frame that it is sending, for a bounded time."""
        if self._ending or self._transport is None or self.to_browser.may_insert:
            self.close(code, reason, cut_reason=cut_reason)
        else:
            self.cut_reason = cut_reason
            self.to_browser.pending_close = close_frame(code, reason)
            self._limit(CLOSE_SECONDS)

    def _close_has_begun(self) -> None:
        if self.to_browser.pending_close is not None and not self.to_browser.tracker.closed:
            self._end_tunnel()
            self._finish_browser()
        else:
            self._limit(CLOSE_SECONDS)

    def _browser_failed(self, error: FrameError) -> None:
        self._lost_track = True
        self.close(PROTOCOL_ERROR, str(error), cut_reason="protocol")
        self.to_server.stop()

    def _server_failed(self, error: FrameError) -> None:
        reason = f"the API broke the protocol: {error}"
        self.close(BAD_GATEWAY, reason, cut_reason="protocol", server_code=PROTOCOL_ERROR)
        self.to_browser.stop()

    def _end_tunnel(self) -> None:
        self._ending = True
        self._tunnel.close()

    def _finish_browser(self) -> None:
        """Let the browser read the last bytes; its connection ends when it ends it, or after a time limit."""
        self._ending = True
        self.to_browser.stop()
        self._lost_track = self._lost_track or self.to_server.has_waiting_data
        self.to_server.stop()
        if self.to_server.tracker.closed:
            self._close_transport()
        self._limit(LINGER_SECONDS)

    def _wait_for_close(self, data: bytes) -> None:
        """Drop what the browser still sends, up to its Close frame; without one, the time limit ends it."""
        tracker = self.to_server.tracker
        if self._lost_track:
            return
        try:
            passed = tracker.feed(data, _MOST_DROPPED)
        except FrameError:
            self._lost_track = True
            return
        if tracker.closed:
            self._close_transport()
        self._lost_track = passed < len(data)

    def _close_transport(self) -> None:
        """Close the browser's connection when what was written has been sent."""
        if self._transport is not None:
            self._limit(LINGER_SECONDS)
            self._transport.close()

    def abort(self) -> None:
        """Close both connections now."""
        self._end_tunnel()
        self._abort()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _limit(self, seconds: float) -> None:
        """Close both connections after this time; an earlier limit stays."""
        due = self._loop.time() + seconds
        if self._deadline is None or self._deadline.when() > due:
            if self._deadline is not None:
                self._deadline.cancel()
            self._deadline = self._loop.call_at(due, self.abort)

    # --- checks, every second

    def check(self, now: float, idle_seconds: float) -> None:
        """Send a Ping to a silent browser; end a socket whose browser or server is gone.

        Parameters: now, on the loop's clock; idle_seconds, after which a browser that has sent nothing, not
        even the Pong to a Ping, is gone.
        """
        if self._ending or self._transport is None:
            return
        stalled = self.to_server.stalled_since
        if stalled is not None:
            if now - stalled >= STALL_SECONDS:
                self.close(BAD_GATEWAY, "the API reads nothing", cut_reason="stalled")
            return
        silent = now - max(self.to_server.received_at, self._progress[1])
        if silent >= idle_seconds / 3 and self._has_read(now):
            return
        if silent >= idle_seconds and not self.to_server.is_held:
            self.close(GOING_AWAY, "nothing was received", cut_reason="idle")
        elif min(silent, now - self._pinged_at) >= idle_seconds / 3 and self.to_browser.may_insert:
            self._pinged_at = now
            self._write_to_browser(PING)

    def _has_read(self, now: float) -> bool:
        """Whether the browser has read much in the meantime: its Pong waits for what is under way to it."""
        arrived = self._connection.acknowledged()
        if arrived - self._progress[0] < LEAST_PROGRESS:
            return False
        self._progress = arrived, now
        return True


class _ServerEnd:
    """Gets what the server sends."""

    __slots__ = ("_relay",)

    def __init__(self, relay: SocketRelay) -> None:
        self._relay = relay

    def may_receive(self, waiting: Waiting) -> bool:
        return self._relay.to_browser.may_receive(waiting)

    def data_received(self, data: bytes) -> None:
        self._relay.to_browser.data_received(data)

    def ended(self) -> None:
        self._relay.server_ended()
