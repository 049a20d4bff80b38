"""A receiver of events on a real socket, which checks the signatures as Standard Webhooks describes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from portal.config.event_settings import EventSettings, EventWebhook

KEY = bytes(range(32))


@dataclass
class EventReceiver:
    """What the receiver got, and how it responds."""

    port: int = 0
    status: int = 204
    hangs: asyncio.Event | None = None
    """While it is not set, requests get no response."""
    attempts: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with every request."""
    messages: list[tuple[str, list[dict[str, Any]]]] = field(default_factory=list)
    """The webhook-id and the events of each request, also of those that were not accepted."""
    accepted: list[dict[str, Any]] = field(default_factory=list)

    @property
    def settings(self) -> EventSettings:
        return EventSettings(webhook=EventWebhook(f"http://localhost:{self.port}/events?to=siem", KEY))

    def ids(self) -> list[str]:
        """The ids of the accepted events, repeated ones included."""
        return [event["id"] for event in self.accepted]


class _Handler(RequestHandler):
    def initialize(self, receiver: EventReceiver) -> None:
        self.receiver = receiver

    async def post(self) -> None:
        receiver, headers = self.receiver, self.request.headers
        message_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
        signed = f"{message_id}.{timestamp}.".encode() + self.request.body
        expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        content = json.loads(self.request.body)
        assert content["type"] == "portal.events"
        events = content["data"]["events"]
        receiver.attempts += 1
        receiver.messages.append((message_id, events))
        receiver.begun.set()
        status = receiver.status
        if status < 300:
            receiver.accepted += events
        if receiver.hangs is not None:
            await receiver.hangs.wait()
        self.set_status(status)


@contextlib.asynccontextmanager
async def event_receiver(receiver: EventReceiver | None = None) -> AsyncIterator[EventReceiver]:
    """Run a receiver while the block runs. Parameters: receiver, one that was stopped, on its former port."""
    receiver = receiver or EventReceiver()
    server = HTTPServer(Application([("/events", _Handler, {"receiver": receiver})]))
    sockets = bind_sockets(receiver.port, "localhost")
    receiver.port = sockets[0].getsockname()[1]
    server.add_sockets(sockets[:1])
    try:
        yield receiver
    finally:
        if receiver.hangs is not None:
            receiver.hangs.set()
        server.stop()
        await server.close_all_connections()
        for one in sockets:
            one.close()
