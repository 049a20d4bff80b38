"""Detects that the database is an older copy of the one last used: see `portal.stores.generation`."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from portal.clock import Clock
from portal.errors import StartupError
from portal.keys import key_file
from portal.stores.generation import GENERATION, Generation
from portal.stores.store import Store

_log = structlog.get_logger("portal.store")

_MAX_ATTEMPTS = 5
_MAX_DATABASES = 16


class GenerationRecord:
    """The highest generation of each database that this host has seen, in a file next to the key ring.

    Parameters: keys, the path of the key ring file; address, that of the database without a password.
    """

    def __init__(self, keys: Path, address: str) -> None:
        self._keys = keys
        self._path = keys.with_name(f"{keys.name}.seen")
        self._address = address
        self._last_error = ""

    def seen(self, database: str) -> int:
        """The highest generation seen of a database; 0 for an unknown database."""
        return self._read().get(database, (0, ""))[0]

    def knows_address(self) -> bool:
        """Whether a generation of a database at this address was recorded."""
        return any(address == self._address for _, address in self._read().values())

    def record(self, generation: Generation) -> None:
        """Record a generation, unless a higher one is recorded.

        Logs once when the file cannot be written; older copies are not detected then.
        """
        try:
            with key_file.locked(self._keys):
                known = self._read()
                number, _ = known.pop(generation.database, (0, ""))
                known[generation.database] = max(number, generation.number), self._address
                kept = list(known.items())[-_MAX_DATABASES:]
                key_file.write(self._path, {"databases": {name: list(entry) for name, entry in kept}})
        except StartupError as error:
            if str(error) != self._last_error:
                _log.warning("generation_not_recorded", file=str(self._path), detail=error.message)
            self._last_error = str(error)

    def _read(self) -> dict[str, tuple[int, str]]:
        try:
            databases = json.loads(self._path.read_bytes())["databases"]
            return {str(name): (int(number), str(at)) for name, (number, at) in databases.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            _log.warning("generation_record_unreadable", file=str(self._path), error=type(error).__name__)
            return {}


class GenerationCheck:
    """Advances the generation of a database and detects an older copy."""

    def __init__(self, store: Store, record: GenerationRecord, *, clock: Clock) -> None:
        self._store = store
        self._record = record
        self._clock = clock
        self._last: Generation | None = None

    async def advance(self) -> None:
        """Compare the stored generation with the recorded one, then advance it.

        Raises StartupError after marking a database that is an older copy; StoreUnavailable.
        """
        for _ in range(_MAX_ATTEMPTS):
            text = await self._store.get_meta(GENERATION)
            found, minimum = await self._load(text)
            if found.copy:
                raise _refused(found, minimum)
            if found.number < minimum:
                # Only an acknowledged write proves it: a MongoDB primary that has stepped down may still
                # return older values.
                marked = replace(found, copy=True).text()
                if await self._store.swap_meta(GENERATION, expected=text, value=marked):
                    raise _refused(found, minimum)
                continue
            advanced = replace(found, number=max(found.number + 1, round(self._clock() * 1000)))
            if await self._store.swap_meta(GENERATION, expected=text, value=advanced.text()):
                return await self._record_seen(advanced)
        return None  # other processes advanced it each time

    async def refuse_to_all(self) -> None:
        """Mark the database as an older copy: no portal serves it before `assign_new_identity`.

        Raises StoreUnavailable.
        """
        await self._store.put_meta(GENERATION, Generation(secrets.token_hex(8), 0, copy=True).text())

    async def assign_new_identity(self) -> None:
        """Give the database a new identity, so that it is no older copy. Raises StoreUnavailable."""
        fresh = Generation(secrets.token_hex(8), round(self._clock() * 1000))
        await self._store.put_meta(GENERATION, fresh.text())
        await self._record_seen(fresh)

    async def _load(self, text: str | None) -> tuple[Generation, int]:
        """The stored generation and the lowest number that is acceptable."""
        if text is not None:
            found = Generation.parse(text)
            own = self._last.number if self._last and self._last.database == found.database else 0
            return found, max(own, await asyncio.to_thread(self._record.seen, found.database))
        was_used = self._last is not None or await asyncio.to_thread(self._record.knows_address)
        lost = was_used and await self._store.has_logins()
        return Generation(secrets.token_hex(8), 0), 1 if lost else 0

    async def _record_seen(self, generation: Generation) -> None:
        self._last = generation
        await asyncio.to_thread(self._record.record, generation)


def _refused(found: Generation, minimum: int) -> StartupError:
    created = f" of {_utc_text(found.number)}" if found.number else ""
    newer = f"; this host has used one of {_utc_text(minimum)}" if minimum > max(found.number, 1) else ""
    return StartupError(
        f"The database is an older copy{created}{newer}. Its refresh tokens may have been used since, and "
        "providers end every token of a user whose refresh token is used twice.",
        remedy="Restore the newer database, or run `portal store restored`: users then sign in again.",
    )


def _utc_text(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
