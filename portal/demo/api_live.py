"""`/events` and `/live` of a sample API: what happens in it, as server-sent events and over a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.web import Application
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from portal.demo.announcements import Announcement, Listener
from portal.demo.api_handlers import ApiHandler, StreamHandler

_COMMENT_SECONDS = 15.0
_LONGEST_TEXT = 1000


class EventsHandler(StreamHandler):
    """`/events`: an event `order` with the JSON of each new order, and so on for the other collections."""

    async def get(self) -> None:
        listener = self.api.announcements.listen(self.caller.scope)
        self.set_header("Content-Type", "text/event-stream")
        try:
            alive = await self.send_piece(b": connected\n\n")
            while alive:
                alive = await self.send_piece(await self._next(listener))
        finally:
            self.api.announcements.leave(listener)

    async def _next(self, listener: Listener) -> bytes:
        """The next event; a comment when nothing happened for a while or the client has disconnected."""
        waiting = asyncio.ensure_future(listener.next())
        gone = asyncio.ensure_future(self.client_gone.wait())
        try:
            await asyncio.wait((waiting, gone), timeout=_COMMENT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                return b": nothing happened\n\n"
            happened = waiting.result()
            return f"event: {happened.kind}\ndata: {json.dumps(happened.document)}\n\n".encode()
        finally:
            waiting.cancel()
            gone.cancel()


class LiveHandler(ApiHandler, WebSocketHandler):
    """`/live`: a WebSocket. It sends `{"type": "order", "order": {…}}` for each new order.

    A message `{"type": "say", "text": "…"}` goes to everybody of the organisation who is connected, with the
    subject of its author as `from`.
    """

    def __init__(self, application: Application, request: HTTPServerRequest, **kwargs: Any) -> None:
        self._listener: Listener | None = None
        self._sending: asyncio.Task[None] | None = None
        super().__init__(application, request, **kwargs)

    def open(self, *args: str, **kwargs: str) -> None:
        """Begin to listen."""
        self._listener = self.api.announcements.listen(self.caller.scope)
        self._sending = asyncio.ensure_future(self._send(self._listener))

    def on_close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self.api.announcements.leave(self._listener)
        if self._sending is not None:
            self._sending.cancel()

    async def on_message(self, message: str | bytes) -> None:
        """Pass on what somebody says."""
        try:
            document = json.loads(message)
        except ValueError:
            document = None
        text = document.get("text") if isinstance(document, dict) else None
        if not isinstance(text, str) or document.get("type") != "say":
            await self.write_message({"type": "error", "message": 'Send {"type": "say", "text": "…"}.'})
            return
        said = {"text": text[:_LONGEST_TEXT], "from": self.caller.subject}
        self.api.announcements.publish(Announcement("say", said))

    async def _send(self, listener: Listener) -> None:
        with contextlib.suppress(WebSocketClosedError):
            while True:
                happened = await listener.next()
                of_record = {happened.kind: happened.document} if happened.scope else happened.document
                await self.write_message(json.dumps({"type": happened.kind, **of_record}))
