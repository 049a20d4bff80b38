"""Delivers every event to the log and to the operator's webhook, at least once.

One process of the deployment delivers: it has a lease in the database, and another process takes over when it
ends. Events are marked as delivered in the database, so no process keeps more than one batch in memory, and a
receiver that does not respond delays nothing but the delivery (docs/decisions/090). What it refuses again and
again, and what cannot be read, is set aside (docs/decisions/095).
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from portal.admin.event_json import event_fields
from portal.admin.event_webhook import TIMEOUT_SECONDS, RefusedByReceiver
from portal.clock import Clock
from portal.errors import PortalError
from portal.pauses import is_set_within
from portal.stores.store import Store
from portal.stores.tenant_records import Event, earliest_event_id
from portal.stores.tenant_store import TenantStore
from portal.time_slices import in_slices

_log = structlog.get_logger("portal.events")
_audit_log = structlog.get_logger("portal.audit")

RECORD = "event-delivery"
"""The id of the record with the lease, in the metadata of the database."""
BATCH_EVENTS = 100
BATCH_CHARACTERS = 512 * 1024
"""Of the texts in a batch; a single larger event is a batch of its own."""
REFUSALS = 5
"""Of one batch; then its events are sent one by one."""
LEASE_SECONDS = 30.0
_RENEWED_BEFORE = LEASE_SECONDS - TIMEOUT_SECONDS
"""The lease is renewed when it has less left: more than a request takes."""
_IDLE_SECONDS = 1.0
_LOGGED_IDS = 10
_PASSES = 20
"""How often a single event is refused before it is set aside."""
_PASS_SECONDS = 0.5
"""Between two of them."""
_LEASE_CHECK_SECONDS = 5.0
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 300.0


class _Interrupted(Exception):
    """The portal stops, or another process delivers."""


class Receiver(Protocol):
    """Where events are sent; `portal.admin.event_webhook.Webhook`."""

    async def send(self, events: Sequence[Event]) -> None:
        """Send a batch; raises PortalError when it was not accepted."""


class DeliveryObserver(Protocol):
    """What measures the delivery."""

    def lag(self, seconds: float) -> None:
        """The age of the oldest waiting event, in seconds."""

    def delivered(self, count: int) -> None:
        """Events were delivered."""

    def failed(self) -> None:
        """An attempt failed."""

    def set_aside(self, reason: str, count: int) -> None:
        """Events will not be delivered. Parameters: reason, `refused` or `damaged`."""


@dataclass(frozen=True, slots=True)
class _Record:
    """Who delivers until when (seconds, UTC), and since which id events are delivered."""

    since: str
    owner: str
    until: float

    def as_text(self) -> str:
        return json.dumps({"since": self.since, "owner": self.owner, "until": self.until})

    @classmethod
    def of(cls, text: str | None, *, now: float) -> _Record:
        """A record that is missing or damaged begins now: what is older was never to be delivered."""
        try:
            found = json.loads(text or "")
            return cls(str(found["since"]), str(found["owner"]), float(found["until"]))
        except (ValueError, TypeError, KeyError):
            return cls(earliest_event_id(now), "", 0.0)


class EventDelivery:
    """Delivers events while this process has the lease.

    Parameters: store, for the lease; events, where they are read; receiver, None: none; log, whether to write
    them to the log; clock, that of the database.
    """

    def __init__(
        self,
        store: Store,
        events: TenantStore,
        *,
        receiver: Receiver | None,
        log: bool,
        clock: Clock,
        observer: DeliveryObserver,
    ) -> None:
        self._store = store
        self._events = events
        self._receiver = receiver
        self._to_log = log
        self._clock = clock
        self._observer = observer
        self._owner = secrets.token_hex(8)
        self._record: _Record | None = None
        self._failures = 0
        self._refusals = 0
        """Of the oldest batch, one after the other."""
        self._oldest_at: float | None = None
        """When the oldest event that waited happened."""
        self._stop = asyncio.Event()
        self._logged: frozenset[str] = frozenset()
        """Ids of the batch that is in the log already, while the receiver has not accepted it."""

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set; then let another process take over at once."""
        if self._receiver is None and not self._to_log:
            return
        self._stop = stop
        pause = 0.0
        while not await self._stopped_within(stop, pause):
            try:
                pause = await self.step()
            except PortalError as error:
                pause = self._failed(error)
        await self._release()

    async def _stopped_within(self, stop: asyncio.Event, pause: float) -> bool:
        """Wait; renew the lease in a long pause, or each process would try a receiver that fails."""
        while pause > _LEASE_CHECK_SECONDS:
            if await is_set_within(stop, _LEASE_CHECK_SECONDS):
                return True
            pause -= _LEASE_CHECK_SECONDS
            if self._oldest_at is not None:
                self._observer.lag(self._clock() - self._oldest_at)
            try:
                if await self._lease() is None:
                    return stop.is_set()
            except PortalError as error:
                _log.warning("event_delivery_not_renewed", code=error.code)
        return await is_set_within(stop, pause)

    async def step(self) -> float:
        """Deliver a batch if this process has the lease; return how many seconds to wait.

        Raises: PortalError when the receiver or the database failed; nothing is lost then.
        """
        record = await self._lease()
        if record is None:
            self._oldest_at = None
            self._observer.lag(0.0)  # the process that delivers measures it
            return _LEASE_CHECK_SECONDS
        waiting, damaged = await self._events.waiting_events(after=record.since, most=BATCH_EVENTS)
        if damaged:
            await self._set_aside("damaged", damaged)
        self._oldest_at = waiting[0].at if waiting else None
        if not waiting:
            self._observer.lag(0.0)
            self._recovered()
            return 0.0 if damaged else _IDLE_SECONDS
        self._observer.lag(self._clock() - waiting[0].at)
        batch = bounded(waiting)
        await self._write_log(batch)
        if self._receiver is None:
            await self._delivered(batch)
        elif self._refusals < REFUSALS:
            await self._send_batch(self._receiver, batch)
        else:
            try:
                await self._send_one_by_one(self._receiver, batch)
            except _Interrupted:
                return _IDLE_SECONDS
        self._logged = frozenset()
        self._recovered()
        more = damaged or len(waiting) == BATCH_EVENTS or len(batch) < len(waiting)
        return 0.0 if more else _IDLE_SECONDS

    async def _send_batch(self, receiver: Receiver, batch: Sequence[Event]) -> None:
        try:
            await receiver.send(batch)
        except RefusedByReceiver:
            self._refusals += 1
            raise
        self._refusals = 0
        await self._delivered(batch)

    async def _send_one_by_one(self, receiver: Receiver, batch: Sequence[Event]) -> None:
        """Find the events of a batch that the receiver always refuses, and set them aside.

        Only while it accepts others, also after the last refusal: a receiver that refuses everything has
        another fault, and each event waits. Raises RefusedByReceiver then, or as `send`.
        """
        refused, refusal = await self._refused_of(receiver, batch)
        if refused and len(refused) == len(batch):
            await self._require_other_accepted(receiver, await self._newest(), refused, refusal)
        for _ in range(_PASSES - 1):  # a receiver that fails now and then accepts the event in one of them
            if not refused:
                break
            if await is_set_within(self._stop, _PASS_SECONDS):
                raise _Interrupted
            refused, refusal = await self._refused_of(receiver, refused)
        if refused:
            accepted = [event for event in batch if event not in refused]
            probe = accepted[-1:] or await self._newest()
            await self._require_other_accepted(receiver, probe, refused, refusal)
            await self._set_aside("refused", [event.id for event in refused])
        self._refusals = 0

    async def _refused_of(
        self, receiver: Receiver, events: Sequence[Event]
    ) -> tuple[list[Event], RefusedByReceiver | None]:
        """Deliver events one by one; return those that were refused, and the last refusal."""
        refused: list[Event] = []
        refusal = None
        for event in events:
            if self._stop.is_set() or await self._lease() is None:
                raise _Interrupted
            try:
                await receiver.send([event])
            except RefusedByReceiver as error:
                refused.append(event)
                refusal = error
            else:
                await self._delivered([event])
                self._recovered()  # even if the next fails: long pauses are for a receiver that accepts none
        return refused, refusal

    async def _newest(self) -> Sequence[Event]:
        """The newest event of the database; empty if it cannot be read."""
        page = await self._events.search_events(
            tenant=None, kinds=(), outcome="", subject="", after="", before=None, most=1, among=1
        )
        return page.events

    async def _require_other_accepted(
        self,
        receiver: Receiver,
        probe: Sequence[Event],
        refused: Sequence[Event],
        refusal: RefusedByReceiver | None,
    ) -> None:
        """Send an event that is not refused, and that may be sent once more. Raises RefusedByReceiver."""
        if not probe or probe[0] in refused:
            raise refusal or RefusedByReceiver("the receiver accepts no event")
        await receiver.send(probe)

    async def _delivered(self, events: Sequence[Event]) -> None:
        await self._events.mark_delivered([event.id for event in events])
        self._observer.delivered(len(events))

    async def _set_aside(self, reason: str, ids: Sequence[str]) -> None:
        await self._events.set_aside_events(ids)
        self._observer.set_aside(reason, len(ids))
        _log.error(
            "events_set_aside",
            reason=reason,
            count=len(ids),
            event_ids=list(ids[:_LOGGED_IDS]),
            effect="they are not delivered; portal events --set-aside lists them",
        )

    async def _lease(self) -> _Record | None:
        """Acquire or renew the lease; None when another process has it. Raises StoreUnavailable."""
        now, mine = self._clock(), self._record
        if mine is not None and mine.until - now > _RENEWED_BEFORE:
            return mine
        text = await self._store.get_meta(RECORD)
        stored = _Record.of(text, now=now)
        if stored.owner not in ("", self._owner) and stored.until > now:
            self._record = None
            return None
        renewed = _Record(stored.since, self._owner, now + LEASE_SECONDS)
        swapped = await self._store.swap_meta(RECORD, expected=text, value=renewed.as_text())
        self._record = renewed if swapped else None
        return self._record

    async def _release(self) -> None:
        mine, self._record = self._record, None
        if mine is None:
            return
        try:
            released = _Record(mine.since, "", 0.0)
            await self._store.swap_meta(RECORD, expected=mine.as_text(), value=released.as_text())
        except PortalError as error:
            _log.warning("event_delivery_not_released", code=error.code, effect="it waits for the lease")

    async def _write_log(self, batch: Sequence[Event]) -> None:
        if not self._to_log:
            return
        async for event in in_slices(batch):
            if event.id not in self._logged:
                fields = event_fields(event)
                _audit_log.info(
                    "audit_event", **{"event_id" if n == "id" else n: v for n, v in fields.items()}
                )
        self._logged = frozenset(event.id for event in batch)

    def _failed(self, error: PortalError) -> float:
        """Count and log a failure; return the pause: exponential, with jitter, at most five minutes."""
        self._failures += 1
        self._observer.failed()
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._failures - 1, 20))
        pause = longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        _log.warning(
            "events_not_delivered",
            code=error.code,
            detail=error.detail,
            failures=self._failures,
            pause=round(pause, 1),
        )
        return pause

    def _recovered(self) -> None:
        if self._failures:
            _log.info("events_delivered_again", failures=self._failures)
        self._failures = 0


def bounded(waiting: Sequence[Event]) -> list[Event]:
    """The first events of a list that together are a batch; at least one."""
    batch: list[Event] = []
    size = 0
    for event in waiting[:BATCH_EVENTS]:
        size += len(event.actor) + len(event.reason) + len(event.target) + len(event.device) + 400
        if batch and size > BATCH_CHARACTERS:
            break
        batch.append(event)
    return batch
