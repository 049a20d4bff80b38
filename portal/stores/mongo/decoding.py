"""Sessions and logins that were made of documents, by the bytes of the documents.

A read always asks the server. When it returns the same bytes as before, the entries that were made of them
are used again, which costs less than to decode them: nothing here can be older than the server's response.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

from bson.raw_bson import RawBSONDocument

from portal.bounded_cache import ByteBoundedCache, memory_of_json
from portal.stores.model import Login, Session
from portal.stores.mongo.documents import Document, login_of, session_of
from portal.stores.stored_entries import EntryReader
from portal.time_slices import in_slices

_MAX_BYTES = 96_000_000
_BYTES_PER_DOCUMENT = 1_600
"""Bytes in memory of the entries of a document, without texts of any length."""


class DecodedDocuments:
    """Makes sessions and logins of documents, and keeps them.

    Parameters: decode, decodes the bytes of a document, raises DamagedEntry; max_bytes, of memory.
    """

    def __init__(
        self,
        entries: EntryReader,
        decode: Callable[[RawBSONDocument], Document],
        *,
        max_bytes: int = _MAX_BYTES,
    ) -> None:
        self._entries = entries
        self._decode = decode
        self._made: ByteBoundedCache[bytes, tuple[Session | Login, ...]] = ByteBoundedCache(max_bytes)

    async def read(
        self, logins: Iterable[RawBSONDocument], sessions: Iterable[RawBSONDocument] = ()
    ) -> tuple[dict[str, Session], dict[str, Login]]:
        """Return the entries that are not damaged, by id; also the sessions that are joined to the logins."""
        found_sessions: dict[str, Session] = {}
        found_logins: dict[str, Login] = {}
        async for document in in_slices(sessions):
            for made in self._entries_of(document, Session):
                found_sessions[made.id] = made  # type: ignore[assignment]
        async for document in in_slices(logins):
            for made in self._entries_of(document, Login):
                if isinstance(made, Login):
                    found_logins[made.id] = made
                else:
                    found_sessions[made.id] = made
        return found_sessions, found_logins

    def _entries_of(
        self, document: RawBSONDocument, kind: type[Session | Login]
    ) -> tuple[Session | Login, ...]:
        raw = bytes(document.raw)
        made = self._made.get(raw)
        if made is not None:
            return made
        decode = cast(Callable[[RawBSONDocument], Any], self._decode)
        decoded = cast(Document | None, self._entries.read(decode, document, kind=kind))
        if decoded is None:
            return ()
        made, complete = self._make(decoded, kind)
        if complete:  # a damaged document is reported at each read
            owner = decoded["tenant"] if kind is Login else ""
            size = _BYTES_PER_DOCUMENT + 2 * len(raw) + memory_of_json(decoded.get("claims", ""))
            self._made.put(raw, made, size=size, owner=owner)
        return made

    def _make(
        self, decoded: Document, kind: type[Session | Login]
    ) -> tuple[tuple[Session | Login, ...], bool]:
        """Make the entries of a document, and return whether none was damaged."""
        made: list[Session | Login | None]
        if kind is Session:
            made = [self._entries.read(session_of, decoded, kind=Session)]
        else:
            made = [self._entries.read(login_of, decoded, kind=Login)]
            joined = decoded.get("sessions", ())
            made += [self._entries.read(session_of, session, kind=Session) for session in joined]
        return tuple(entry for entry in made if entry is not None), None not in made
