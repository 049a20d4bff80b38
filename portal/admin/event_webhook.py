"""Sends events to the operator's receiver, signed as Standard Webhooks describes.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence

from portal.admin.event_json import event_fields, rfc3339
from portal.clock import Clock
from portal.config.event_settings import EventWebhook
from portal.errors import OutboundFailed
from portal.outbound.client import OutboundClient
from portal.stores.tenant_records import Event

OPERATOR = "(operator)"
"""On whose behalf the requests are sent: no tenant can have this slug."""
TIMEOUT_SECONDS = 10.0
"""For a whole request."""
_LONGEST_RESPONSE = 64 * 1024
_FOR_NOW = frozenset({408, 425, 429, 502, 503, 504})
"""Statuses that say nothing about what was sent."""


class RefusedByReceiver(OutboundFailed):
    """The receiver has read a batch and does not accept it."""


class Webhook:
    """Posts batches of events. Parameters: clock, the time of the signatures."""

    def __init__(self, http: OutboundClient, receiver: EventWebhook, *, clock: Clock) -> None:
        self._http = http
        self._receiver = receiver
        self._clock = clock

    async def send(self, events: Sequence[Event]) -> None:
        """Send a batch; return when the receiver has accepted it with a status of 2xx.

        Raises: RefusedByReceiver for a status that may be about these events, OutboundRefused,
        OutboundTimeout, OutboundFailed.
        """
        body = body_of(events)
        headers = signed_headers(
            self._receiver.key, message_id=message_id(events), timestamp=int(self._clock()), body=body
        )
        response = await self._http.fetch(
            "POST",
            self._receiver.url,
            tenant=OPERATOR,
            headers=[("Content-Type", "application/json"), *headers],
            body=body,
            max_bytes=_LONGEST_RESPONSE,
            timeout=TIMEOUT_SECONDS,
        )
        if not 200 <= response.status < 300:
            failure = OutboundFailed if response.status in _FOR_NOW else RefusedByReceiver
            raise failure(f"the receiver responded with status {response.status}")


def body_of(events: Sequence[Event]) -> bytes:
    """The body of a batch: the envelope that Standard Webhooks recommends, with the events in `data`."""
    content = {
        "type": "portal.events",
        "timestamp": rfc3339(events[-1].at),
        "data": {"events": [event_fields(event) for event in events]},
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def message_id(events: Sequence[Event]) -> str:
    """The id of a batch: that of the same events is the same when it is sent again."""
    return f"evt_{hashlib.sha256(' '.join(event.id for event in events).encode()).hexdigest()[:32]}"


def signed_headers(key: bytes, *, message_id: str, timestamp: int, body: bytes) -> list[tuple[str, str]]:
    """The headers that identify and sign a message (Standard Webhooks, «Signature scheme»).

    Parameters: timestamp, seconds since the epoch.
    """
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    signature = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    return [
        ("webhook-id", message_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", f"v1,{signature}"),
    ]
