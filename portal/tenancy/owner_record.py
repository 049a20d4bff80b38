"""Records in the database which tenant owns each name, so that a restart changes no owner.

Without the record, names that two tenants claim would go to the first file name after a restart, and a tenant
could take a host name or an e-mail domain from another by a name that sorts first.
"""

from __future__ import annotations

import asyncio
import json
from typing import Protocol

import structlog

from portal.errors import PortalError
from portal.pauses import is_set_within
from portal.tenancy.ownership import Claim, Owned
from portal.tenancy.registry import Registry
from portal.tenancy.removals import is_sudden_loss
from portal.time_slices import in_turns

_log = structlog.get_logger("portal.tenancy")

_KEY = "name-owners"
_INTERVAL_SECONDS = 2.0
_MAX_MISSING_PERCENT = 50
"""When more of the recorded tenants have no file, the folder may be lost; they keep their names."""


class Meta(Protocol):
    """The part of the store that the record needs; see `portal.stores.store.Store`."""

    async def get_meta(self, meta_id: str) -> str | None:
        """Return a value; None if it does not exist."""

    async def swap_meta(self, meta_id: str, *, expected: str | None, value: str) -> bool:
        """Replace a value if it is the expected one."""


class OwnerRecord:
    """Restores the owners of names at a start, and records them when they change."""

    def __init__(self, store: Meta, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._recorded_version: int | None = None
        self._known: tuple[str | None, Owned] = (None, {})
        """The last text that was read or written, and its content: parsing it takes 10 ms for 10,000."""

    async def restore(self) -> None:
        """Return names to their recorded owners, then record all owners. Call it before the portal serves.

        Raises: StoreUnavailable.
        """
        text = await self._store.get_meta(_KEY)
        await asyncio.to_thread(lambda: self._registry.restore_owners(self._content(text)))
        await self.record()

    async def record(self) -> None:
        """Record the owners if they have changed. Raises: StoreUnavailable.

        What other processes recorded first stays. If one of them is recording now, the next call does it.
        """
        version = self._registry.owners_version
        if version == self._recorded_version:
            return
        text = await self._store.get_meta(_KEY)
        value = await asyncio.to_thread(self._updated, text)
        if value == text or await self._store.swap_meta(_KEY, expected=text, value=value):
            self._recorded_version = version

    async def run(self, stop: asyncio.Event) -> None:
        """Record changes of owners within two seconds, until `stop` is set."""
        while not stop.is_set():
            try:
                await self.record()
            except PortalError as error:
                _log.warning("name_owners_not_recorded", code=error.code)
            await is_set_within(stop, _INTERVAL_SECONDS)

    def _content(self, text: str | None) -> Owned:
        if text != self._known[0]:
            self._known = text, _parse(text)
        return self._known[1]

    def _updated(self, text: str | None) -> str:
        """Return the new record; what another process recorded is part of it."""
        recorded = self._content(text)
        owned = dict(self._registry.owned(recorded))
        missing = {slug: claims for slug, claims in in_turns(recorded.items()) if slug not in owned}
        if is_sudden_loss(lost=len(missing), before=len(recorded), max_percent=_MAX_MISSING_PERCENT):
            taken = {claim for claims in in_turns(owned.values()) for claim in claims}
            for slug, claims in in_turns(missing.items()):
                owned[slug] = tuple(claim for claim in claims if claim not in taken)
        owned = {slug: owned[slug] for slug in in_turns(sorted(owned)) if owned[slug]}
        value = _text(owned)
        self._known = value, owned
        return value


async def recorded_owners(store: Meta) -> dict[Claim, str]:
    """Return the recorded owner of each name, for commands. Raises StoreUnavailable."""
    owned = _parse(await store.get_meta(_KEY))
    return {claim: slug for slug, claims in owned.items() for claim in claims}


def _text(owned: Owned) -> str:
    entries = (
        f"{json.dumps(slug)}:{json.dumps(claims, separators=(',', ':'))}"
        for slug, claims in in_turns(owned.items())
    )
    return f"{{{','.join(entries)}}}"


def _parse(text: str | None) -> dict[str, tuple[tuple[str, str], ...]]:
    """Parse the record; a damaged record counts as empty and is replaced."""
    try:
        found = json.loads(text or "{}")
        return {
            str(slug): tuple((str(kind), str(name)) for kind, name in claims)
            for slug, claims in in_turns(found.items())
        }
    except (ValueError, TypeError, AttributeError):
        _log.error("name_owners_damaged", effect="names that two tenants claim go to the first file name")
        return {}
