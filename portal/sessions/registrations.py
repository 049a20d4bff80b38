"""Ends the logins of registrations that are away for longer than a moment.

A login is good for the registration it was made under: a tenant's provider with this issuer and client. While
that registration is not live, the login counts as none. If it is back within a minute (an editor's save, a
pull, a mistake that is corrected at once), the login counts again. If it is away for two minutes, the login
is deleted, and whoever brings the registration back later brings nobody's login back.

The store keeps when each registration was last live in any process of any host, so that this holds over
restarts, and a host that has the new files before the others ends nothing that they still serve.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from portal.clock import Clock
from portal.errors import PortalError
from portal.oidc.issuer import PLACEHOLDER
from portal.oidc.provider import Provider
from portal.stores.store import Store

_log = structlog.get_logger("portal.registrations")

_RECORD = "registrations"
_LOOK_SECONDS = 10.0
_FRESH_SECONDS = 20.0
"""A record this old is renewed. So it may be `_LATE_SECONDS` old while the registration is still live."""
_LATE_SECONDS = _FRESH_SECONDS + _LOOK_SECONDS
_GRACE_SECONDS = 60.0 + _LATE_SECONDS


class Registration(NamedTuple):
    """What logins are made under. `issuer` is empty unless the provider has a list of directories: any.

    A list may have a thousand of them, so what is done for each must be little.
    """

    tenant: str
    provider: str
    fingerprint: str
    issuer: str = ""


def registrations_of(providers: Iterable[Provider]) -> set[Registration]:
    """Return the registrations that these providers are."""
    found = set()
    for provider in providers:
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
    """What a process serves now. `unclear`: tenants that have a file which cannot be used."""

    live: Collection[Registration]
    unclear: Collection[str] = ()


class RegistrationUpkeep:
    """Records what is live, and ends logins of what is not.

    Parameters: serving, what this process serves, asked in a thread; believes, whether so many tenants of so
    many may be gone, which is asked about tenants that this process has never had: at a start, its folder may
    not be mounted.
    """

    def __init__(
        self,
        store: Store,
        *,
        serving: Callable[[], LiveRegistrations],
        believes: Callable[[int, int], Awaitable[bool]],
        clock: Clock,
    ) -> None:
        self._store = store
        self._serving = serving
        self._is_plausible = believes
        self._clock = clock
        self._begun: float | None = None
        """The first look: before the database is open, `clock` may be that of a host that is far off."""
        self._had: set[Registration] = set()
        self._doubted = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Look every ten seconds until `stop` is set; a failure is logged, and the next look tries again."""
        while not stop.is_set():
            try:
                await self.look()
            except PortalError as error:
                _log.warning("registrations_not_recorded", code=error.code)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await stop.wait()

    async def look(self) -> None:
        """Record what is live, and end what is over. Raises StoreUnavailable."""
        text = await self._store.get_meta(_RECORD)
        moment = self._clock()
        self._begun = moment if self._begun is None else self._begun
        # in threads: of 10,000 tenants, each of these steps takes 10 to 20 ms
        seen, live, over = await asyncio.to_thread(self._compared, text, moment)
        over = await self._believed(over, live, seen, moment)
        if over:
            await self._end(over, live | (seen.keys() - over), moment)
        value = await asyncio.to_thread(_renewed, seen, live, over, moment)
        if value is not None:
            # false when another process was faster; then the next look does it
            await self._store.swap_meta(_RECORD, expected=text, value=value)

    def _compared(
        self, text: str | None, moment: float
    ) -> tuple[dict[Registration, float], set[Registration], set[Registration]]:
        """What the record says, what is live, and what is over."""
        seen = _parse(text)
        serving = self._serving()
        live = set(serving.live)
        self._had |= live
        over = {
            one
            for one, at in seen.items()
            if one not in live and one.tenant not in serving.unclear and at <= moment - _GRACE_SECONDS
        }
        return seen, live, over

    async def _believed(
        self,
        over: set[Registration],
        live: set[Registration],
        seen: Mapping[Registration, float],
        moment: float,
    ) -> set[Registration]:
        """Leave out what this process never had, when it has just begun or when it would be too much."""
        strange = over - self._had
        tenants = {one.tenant for one in live}
        lost = {one.tenant for one in strange} - tenants
        if self._begun is None or moment - self._begun < _GRACE_SECONDS:
            return over - strange
        if lost and not await self._is_plausible(len(lost), len({one.tenant for one in seen} | tenants)):
            if self._doubted != len(lost):
                _log.error(
                    "logins_of_lost_tenants_kept",
                    tenants=len(lost),
                    remedy="bring the files back, or confirm with: portal tenant reload --accept-removals",
                )
            self._doubted = len(lost)
            return over - strange
        return over

    async def _end(self, over: Collection[Registration], left: Iterable[Registration], moment: float) -> None:
        """Delete the logins of what is over, all issuers of a provider at once, except what is left."""
        kept: dict[tuple[str, ...], set[str]] = {one[:3]: set() for one in over}
        for one in left:
            if one[:3] in kept:
                kept[one[:3]].add(one.issuer)
        for (tenant, provider, fingerprint), issuers in kept.items():
            if "" in issuers:
                continue
            ended = await self._store.delete_logins_of(
                tenant,
                provider,
                fingerprint,
                kept_issuers=issuers,
                # later ones were made after it came back, which is not recorded yet
                signed_in_until=moment - _GRACE_SECONDS + _LATE_SECONDS,
            )
            _log.info("registration_ended", tenant=tenant, provider=provider, logins=ended)


async def served_tenants(store: Store, *, now: float) -> set[str]:
    """Return the tenants that some process serves, or did a moment ago. Raises StoreUnavailable."""
    seen = _parse(await store.get_meta(_RECORD))
    return {one.tenant for one, at in seen.items() if at > now - 2 * _LATE_SECONDS}


def _renewed(
    seen: Mapping[Registration, float],
    live: Collection[Registration],
    over: Collection[Registration],
    moment: float,
) -> str | None:
    """The record as it is to be; None when it may stay as it is."""
    renewed = {one: moment for one in live if seen.get(one, 0.0) < moment - _FRESH_SECONDS}
    if not over and not renewed:
        return None
    return _text({**{one: at for one, at in seen.items() if one not in over}, **renewed})


def _text(seen: Mapping[Registration, float]) -> str:
    return json.dumps([[*one, at] for one, at in sorted(seen.items())], separators=(",", ":"))


def _parse(text: str | None) -> dict[Registration, float]:
    """Read the record; one that is damaged counts as empty, and is written anew."""
    try:
        return {
            Registration(str(tenant), str(provider), str(fingerprint), str(issuer)): float(at)
            for tenant, provider, fingerprint, issuer, at in json.loads(text or "[]")
        }
    except (ValueError, TypeError):
        return {}
