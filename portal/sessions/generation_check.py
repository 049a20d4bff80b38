"""Whether the database is an older copy of the one that was last used: see `portal.stores.generation`."""

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


_TRIES = 5


_MOST_DATABASES = 16


class GenerationRecord:
    """The highest generation that this host has seen of each database, in a file beside the key ring.

    Parameters: keys, the key ring file; address, of the database, without a password.
    """

    def __init__(self, keys: Path, address: str) -> None:
        self._keys = keys
        self._path = keys.with_name(f"{keys.name}.seen")
        self._address = address
        self._trouble = ""

    def seen(self, database: str) -> int:
        """The highest generation seen of a database; 0 for an unknown one."""
        return self._read().get(database, (0, ""))[0]

    def knows_address(self) -> bool:
        """Whether any generation was seen of a database at this address."""
        return any(address == self._address for _, address in self._read().values())

    def note(self, generation: Generation) -> None:
        """Write a generation down, unless a higher one is there.

        Where the file cannot be written, says so once in the log; older copies are not noticed then.
        """
        try:
            with key_file.locked(self._keys):
                known = self._read()
                number, _ = known.pop(generation.database, (0, ""))
                known[generation.database] = max(number, generation.number), self._address
                kept = list(known.items())[-_MOST_DATABASES:]
                key_file.write(self._path, {"databases": {name: list(entry) for name, entry in kept}})
        except StartupError as error:
            if str(error) != self._trouble:
                _log.warning("generation_not_recorded", file=str(self._path), detail=error.message)
            self._trouble = str(error)

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
    """Advances the generation of a database, and finds out when the database is an older copy."""

    def __init__(self, store: Store, record: GenerationRecord, *, clock: Clock) -> None:
        self._store = store
        self._record = record
        self._clock = clock
        self._last: Generation | None = None

    async def advance(self) -> None:
        """Compare the generation with what was seen, and move it on.

        Raises StartupError when the database is an older copy, which is then marked; StoreUnavailable.
        """
        for _ in range(_TRIES):
            text = await self._store.get_meta(GENERATION)
            found, least = await self._compared(text)
            if found.copy:
                raise _refused(found, least)
            if found.number < least:
                # Certain only once the database has acknowledged a write: a MongoDB primary that has been
                # replaced still answers reads for a while, with older values.
                marked = replace(found, copy=True).text()
                if await self._store.swap_meta(GENERATION, expected=text, value=marked):
                    raise _refused(found, least)
                continue
            grown = replace(found, number=max(found.number + 1, round(self._clock() * 1000)))
            if await self._store.swap_meta(GENERATION, expected=text, value=grown.text()):
                return await self._seen(grown)
        return None  # other processes keep moving it on

    async def begin_anew(self) -> None:
        """Make the database another one, which is not an older copy of any. Raises StoreUnavailable."""
        fresh = Generation(secrets.token_hex(8), round(self._clock() * 1000))
        await self._store.put_meta(GENERATION, fresh.text())
        await self._seen(fresh)

    async def _compared(self, text: str | None) -> tuple[Generation, int]:
        """The stored generation, and the lowest number that it must have."""
        if text is not None:
            found = Generation.parse(text)
            mine = self._last.number if self._last and self._last.database == found.database else 0
            return found, max(mine, await asyncio.to_thread(self._record.seen, found.database))
        had_one = self._last is not None or await asyncio.to_thread(self._record.knows_address)
        lost = had_one and await self._store.has_logins()
        return Generation(secrets.token_hex(8), 0), 1 if lost else 0

    async def _seen(self, generation: Generation) -> None:
        self._last = generation
        await asyncio.to_thread(self._record.note, generation)


def _refused(found: Generation, least: int) -> StartupError:
    made = f" of {_moment(found.number)}" if found.number else ""
    since = f"; this host has used one of {_moment(least)}" if least > max(found.number, 1) else ""
    return StartupError(
        f"The database is an older copy{made}{since}. Its refresh tokens may have been used since, and "
        "providers end every token of a user whose refresh token is used twice.",
        remedy="Bring back the newer database, or run `portal store restored`: users then sign in again.",
    )


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
