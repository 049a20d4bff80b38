"""Deletes the logins of registrations that were removed.

A login belongs to the registration it was made under: a tenant's provider with this issuer and client. While
that registration is not live, the login is ignored. If the registration returns within a minute (an editor
replaces a file, a mistake is corrected), the login is valid again. After two minutes the login is deleted;
restoring the registration later does not restore it.

The store records when each registration was last live in any process of any host. So this works across
restarts, and a host that receives new files first deletes no login that other hosts still serve.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from portal.clock import Clock
from portal.errors import PortalError
from portal.oidc.issuer import PLACEHOLDER
from portal.oidc.provider import Provider
from portal.pauses import is_set_within
from portal.stores.store import Store
from portal.time_slices import in_turns

_log = structlog.get_logger("portal.registrations")

_RECORD = "registrations"
_INTERVAL_SECONDS = 10.0
_RENEWAL_SECONDS = 20.0
"""The age at which the time of a live registration is renewed; it is at most `_MAX_AGE_SECONDS` old."""
_MAX_AGE_SECONDS = _RENEWAL_SECONDS + _INTERVAL_SECONDS
_GRACE_SECONDS = 60.0 + _MAX_AGE_SECONDS


class Registration(NamedTuple):
    """The registration of a login. `issuer` is empty (any issuer) unless the provider lists `tenant_ids`.

    A list may have a thousand entries, so keep the work per registration small.
    """

    tenant: str
    provider: str
    fingerprint: str
    issuer: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """When each registration was last live, in seconds, UTC."""

    times: Mapping[Registration, float]
    oldest: float
    only: Set[Registration] | None = None
    """If it is known: these, all at the time `oldest`, are its registrations. With few changes, they are."""

    @classmethod
    def at(cls, times: Mapping[Registration, float]) -> _Seen:
        return cls(times, min(times.values(), default=math.inf))


def registrations_of(providers: Iterable[Provider]) -> set[Registration]:
    """Return the registrations of these providers."""
    found = set()
    for provider in in_turns(providers):
        template = provider.issuer_template
        issuers = [""]
        if template is not None and template.tenant_ids is not None:
            issuers = [template.text.replace(PLACEHOLDER, tid) for tid in template.tenant_ids]
        found |= {
            Registration(provider.tenant, provider.id, provider.registration, issuer) for issuer in issuers
        }
    return found


@dataclass(frozen=True, slots=True)
class LiveRegistrations:
    """The registrations that a process serves. `unusable`: tenants whose file cannot be loaded."""

    live: Collection[Registration]
    unusable: Collection[str] = ()


class RegistrationUpkeep:
    """Records the live registrations and deletes the logins of removed ones.

    Parameters: serving, returns what this process serves, called in a thread (the same object while that is
    unchanged); confirms_removal, called with
    the number of missing tenants and the total, returns whether they were really removed. It is called only
    for tenants that this process has never served: at start-up, the folder may not be mounted; ended, called
    with the tenant, the provider, and the number of logins that were deleted.
    """

    def __init__(
        self,
        store: Store,
        *,
        serving: Callable[[], LiveRegistrations],
        confirms_removal: Callable[[int, int], Awaitable[bool]],
        clock: Clock,
        ended: Callable[[str, str, int], None] = lambda tenant, provider, logins: None,
    ) -> None:
        self._store = store
        self._serving = serving
        self._confirms_removal = confirms_removal
        self._clock = clock
        self._ended = ended
        self._first_update_at: float | None = None
        """Time of the first update: before the database is open, the host's `clock` may be wrong."""
        self._served: set[Registration] = set()
        self._unconfirmed = 0
        self._record = _Record()
        self._settled: _Settled | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Update every ten seconds until `stop` is set; log a failure and retry at the next update."""
        while not stop.is_set():
            try:
                await self.update()
            except PortalError as error:
                _log.warning("registrations_not_recorded", code=error.code)
            await is_set_within(stop, _INTERVAL_SECONDS)

    async def update(self) -> None:
        """Record the live registrations and delete the logins of removed ones. Raises StoreUnavailable."""
        text = await self._store.get_meta(_RECORD)
        now = self._clock()
        self._first_update_at = now if self._first_update_at is None else self._first_update_at
        # in threads: with 10,000 tenants, each of these steps takes 10 to 20 ms
        compared = await asyncio.to_thread(self._compare, text, now)
        if compared is None:
            return
        seen, serving, live, removed = compared
        removed = await self._confirmed(removed, live, seen, now)
        if removed:
            await self._end(removed, live | (seen.times.keys() - removed), now)
        value = await asyncio.to_thread(self._record.renewed, seen, live, removed, now)
        # false when another process wrote first; the next update retries
        if value is not None and await self._store.swap_meta(_RECORD, expected=text, value=value):
            self._settled = _Settled.of(self._record.read(value), serving, live)

    def _compare(
        self, text: str | None, now: float
    ) -> tuple[_Seen, LiveRegistrations, Set[Registration], set[Registration]] | None:
        """Return the record, what is live, and what was removed; None if there is nothing to do."""
        serving = self._serving()
        seen = self._record.read(text)
        settled = self._settled
        if settled and settled.seen is seen and settled.serving is serving and now <= settled.until:
            return None
        live = settled.live if settled and settled.serving is serving else frozenset(serving.live)
        if seen.only is live:
            return seen, serving, live, set()
        self._served |= live
        removed = {
            entry
            for entry, at in in_turns(seen.times.items())
            if entry not in live and entry.tenant not in serving.unusable and at <= now - _GRACE_SECONDS
        }
        self._settled = _Settled.of(seen, serving, live)
        return seen, serving, live, removed

    async def _confirmed(
        self,
        removed: set[Registration],
        live: Set[Registration],
        seen: _Seen,
        now: float,
    ) -> set[Registration]:
        """Drop what this process never served if it has just started, or if the removal is not confirmed."""
        if not removed:
            return removed
        never_served = removed - self._served
        tenants = {entry.tenant for entry in live}
        missing = {entry.tenant for entry in never_served} - tenants
        if self._first_update_at is None or now - self._first_update_at < _GRACE_SECONDS:
            return removed - never_served
        if missing and not await self._confirms_removal(
            len(missing), len({entry.tenant for entry in seen.times} | tenants)
        ):
            if self._unconfirmed != len(missing):
                _log.error(
                    "logins_of_lost_tenants_kept",
                    tenants=len(missing),
                    remedy="restore the files, or confirm with: portal tenant reload --accept-removals",
                )
            self._unconfirmed = len(missing)
            return removed - never_served
        return removed

    async def _end(
        self, removed: Collection[Registration], remaining: Iterable[Registration], now: float
    ) -> None:
        """Delete the logins of removed registrations, except those whose issuer is still accepted."""
        kept: dict[tuple[str, ...], set[str]] = {entry[:3]: set() for entry in removed}
        for entry in remaining:
            if entry[:3] in kept:
                kept[entry[:3]].add(entry.issuer)
        for (tenant, provider, fingerprint), issuers in kept.items():
            if "" in issuers:
                continue
            ended = await self._store.delete_logins_of(
                tenant,
                provider,
                fingerprint,
                kept_issuers=issuers,
                # later logins belong to a registration that returned and is not recorded yet
                signed_in_until=now - _GRACE_SECONDS + _MAX_AGE_SECONDS,
            )
            if ended:
                self._ended(tenant, provider, ended)
            _log.info("registration_ended", tenant=tenant, provider=provider, logins=ended)


async def served_tenants(store: Store, *, now: float) -> set[str]:
    """Return the tenants that any process serves or has just served. Raises StoreUnavailable."""
    times = _parse(await store.get_meta(_RECORD))
    return {entry.tenant for entry, at in times.items() if at > now - 2 * _MAX_AGE_SECONDS}


@dataclass(frozen=True, slots=True)
class _Settled:
    """A comparison of this record with what is served; the result is the same until the time `until`."""

    seen: _Seen
    serving: LiveRegistrations
    live: Set[Registration]
    until: float

    @classmethod
    def of(cls, seen: _Seen, serving: LiveRegistrations, live: Set[Registration]) -> _Settled:
        """The next renewal, or removal, is due at the earliest when the oldest time is to be renewed."""
        complete = seen.only is live or live <= seen.times.keys()
        return cls(seen, serving, live, seen.oldest + _RENEWAL_SECONDS if complete else 0.0)


class _Record:
    """Reads and writes the record. Keeps what it read or wrote last, since that takes 50 ms for 10,000."""

    def __init__(self) -> None:
        self._text: str | None = None
        self._seen = _Seen.at({})
        self._starts: dict[Registration, str] = {}
        """The JSON of each registration, without its time and the final bracket."""

    def read(self, text: str | None) -> _Seen:
        """Return when each registration was last seen; the same object for the same text."""
        if text != self._text:
            self._text, self._seen = text, _Seen.at(_parse(text))
        return self._seen

    def renewed(
        self,
        seen: _Seen,
        live: Set[Registration],
        removed: Collection[Registration],
        now: float,
    ) -> str | None:
        """The new record; None when it need not change."""
        if seen.only is live:
            if seen.oldest >= now - _RENEWAL_SECONDS:
                return None
            self._seen = _Seen(dict.fromkeys(live, now), now, live)
            self._text = f"[{f',{now!r}],'.join(self._starts.values())},{now!r}]]"
            return self._text
        times = seen.times
        renewed = {entry: now for entry in in_turns(live) if times.get(entry, 0.0) < now - _RENEWAL_SECONDS}
        if not removed and not renewed:
            return None
        kept = {entry: at for entry, at in in_turns(times.items()) if entry not in removed}
        entries = dict(sorted({**kept, **renewed}.items()))
        starts = self._starts
        self._starts = {entry: starts.get(entry) or _start(entry) for entry in in_turns(entries)}
        self._text = _text(entries, self._starts)
        everything_now = len(entries) == len(renewed) == len(live) > 0
        self._seen = _Seen(entries, now, live) if everything_now else _Seen.at(entries)
        return self._text


def _start(entry: Registration) -> str:
    return json.dumps(entry, separators=(",", ":"))[:-1]


def _text(times: Mapping[Registration, float], starts: Mapping[Registration, str]) -> str:
    return f"[{','.join(f'{starts[entry]},{at!r}]' for entry, at in in_turns(times.items()))}]"


def _parse(text: str | None) -> dict[Registration, float]:
    """Parse the record; a damaged record counts as empty and is rewritten."""
    try:
        return {
            Registration(str(tenant), str(provider), str(fingerprint), str(issuer)): float(at)
            for tenant, provider, fingerprint, issuer, at in in_turns(json.loads(text or "[]"))
        }
    except (ValueError, TypeError):
        return {}
