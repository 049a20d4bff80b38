"""The logins at a tenant, in MongoDB."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from functools import partial

from bson.raw_bson import RawBSONDocument

from portal.stores.full_pages import full_page
from portal.stores.model import Login
from portal.stores.mongo import repeatable
from portal.stores.mongo.connection import PURGE_SECONDS, MongoConnection
from portal.stores.mongo.documents import Document, login_of, session_of, to_date, to_seconds
from portal.stores.mongo.outbox import Outbox
from portal.stores.mongo.queries import WITH_SESSION, live_session
from portal.stores.mongo.tenant_documents import event_document
from portal.stores.mongo.tenant_reading import place_in
from portal.stores.record_checks import require_numbers, require_short, require_times, require_valid
from portal.stores.stored_entries import EntryReader, entry_from
from portal.stores.tenant_logins import (
    ExpiredLogin,
    FoundLogins,
    LiveCounts,
    Position,
    Report,
    TenantLogin,
    UserKey,
    require_found,
    require_position,
    require_registrations,
    require_users,
)
from portal.stores.tenant_records import Event

_DELETED_AT_ONCE = 1000
_KEY = {"_id": 1}


class MongoTenantLogins:
    """See `portal.stores.tenant_logins.TenantLogins`."""

    def __init__(self, connection: MongoConnection, entries: EntryReader) -> None:
        self._connection = connection
        self._entries = entries
        self._outbox = Outbox(connection)

    async def list(
        self,
        tenant: str,
        *,
        registrations: Collection[str] | None,
        before: Position | None,
        most: int,
        now: float,
    ) -> list[TenantLogin]:
        require_short(tenant=tenant)
        require_numbers(most=most)
        require_times(now=now)
        require_position(before)
        require_registrations(registrations)
        if most == 0:
            return []

        async def read(place: Position | None, count: int) -> Sequence[RawBSONDocument]:
            return await self._read_newest(
                {**_unexpired(tenant, registrations, now), **_after(place)}, count, now
            )

        decode = partial(self._entries.read_all, self._entry, kind=TenantLogin)
        return await full_page(read, decode, _position_of, begin=before, most=most)

    async def find(
        self, *, session: str, issuer: str, subject: str, after: str, among: int, now: float
    ) -> FoundLogins:
        require_found(session=session, issuer=issuer, subject=subject, after=after, among=among)
        require_times(now=now)
        if among == 0:
            return FoundLogins([], None)
        query: Document = {"_id": {"$gt": after}}
        if session:
            query["session"] = session
        if subject:
            query["subject"] = subject
            query["issuer"] = issuer or {"$in": [*await self._issuers()]}
        searched: list[Document] = [{"$sort": {"_id": 1}}, {"$limit": among}]
        live: list[Document] = [
            {"$match": {"expires_at": {"$gt": to_date(now)}}},
            WITH_SESSION,
            {"$match": {"sessions": {"$elemMatch": live_session(now)}}},
        ]
        found = await self._connection.read("logins", query, [*searched, *live])
        last: list[Document] = [*searched, {"$skip": among - 1}, {"$project": {"_id": 1}}]
        more = await self._connection.read("logins", query, last)
        logins = await self._entries.read_all(self._entry, found, kind=TenantLogin)
        return FoundLogins(logins, more[0]["_id"] if more else None)

    async def _issuers(self) -> Sequence[str]:
        """The issuers of all logins, from the index that begins with them."""
        async with self._connection.operation():
            found: Sequence[str] = await self._connection.collection("logins").distinct("issuer")
        return found

    async def of_users(
        self, users: Sequence[UserKey], *, most: int, now: float
    ) -> Sequence[Sequence[TenantLogin]]:
        require_users(users)
        require_numbers(most=most)
        require_times(now=now)
        if most == 0:
            return [[] for _ in users]
        queries = [
            {**_unexpired(one.tenant, [one.registration], now), "issuer": one.issuer, "subject": one.subject}
            for one in users
        ]
        return await asyncio.gather(*(self._newest(query, most, now) for query in queries))

    async def stored(self, tenant: str, *, before: Position | None, most: int) -> Sequence[Login]:
        require_short(tenant=tenant)
        require_numbers(most=most)
        require_position(before)
        if most == 0:
            return []

        async def read(place: Position | None, count: int) -> Sequence[RawBSONDocument]:
            stages: list[Document] = [{"$sort": {"signed_in_at": -1, "_id": -1}}, {"$limit": count}]
            query: Document = {"tenant": tenant, "ended": None, **_after(place)}
            return await self._connection.read("logins", query, stages)

        decode = partial(self._entries.read_all, self._login, kind=Login)
        return await full_page(read, decode, _position_of, begin=before, most=most)

    async def _newest(self, query: Document, most: int, now: float) -> Sequence[TenantLogin]:
        found = await self._read_newest(query, most, now)
        return await self._entries.read_all(self._entry, found, kind=TenantLogin)

    async def _read_newest(self, query: Document, most: int, now: float) -> Sequence[RawBSONDocument]:
        stages: list[Document] = [
            {"$sort": {"signed_in_at": -1, "_id": -1}},
            WITH_SESSION,
            {"$match": {"sessions": {"$elemMatch": live_session(now)}}},
            {"$limit": most},
        ]
        return await self._connection.read("logins", query, stages)

    async def count(self, tenant: str, *, registrations: Collection[str] | None, now: float) -> int:
        require_short(tenant=tenant)
        require_times(now=now)
        require_registrations(registrations)
        query = _unexpired(tenant, registrations, now)
        async with self._connection.operation():
            return await self._connection.collection("logins").count_documents(query)

    async def count_all(self, *, now: float) -> LiveCounts:
        require_times(now=now)
        live = {"expires_at": {"$gt": to_date(now)}}
        async with self._connection.operation():
            sessions = await self._connection.collection("sessions").count_documents(live)
            logins = await self._connection.collection("logins").count_documents(live)
        return LiveCounts(sessions, logins)

    async def end_expired(self, *, most: int, grace: float, report: Report) -> int:
        require_numbers(most=most)
        require_times(grace=grace)
        if most == 0:
            return 0
        expired: Document = {"expires_at": {"$lte": to_date(await self._connection.measure_clock() - grace)}}
        sessions, logins = self._connection.collection("sessions"), self._connection.collection("logins")
        async with self._connection.operation():
            ended = await sessions.find(expired, {"expires_at": 1}).limit(most).to_list(None)
            ends = {each["_id"]: each["expires_at"] for each in ended}
            theirs = await logins.find({"session": {"$in": [*ends]}}, _KEY).to_list(None)
            others = await logins.find({**expired, "ended": None}, _KEY).limit(most).to_list(None)
            keys = [each["_id"] for each in (*theirs, *others)]
        mark = repeatable.new_mark()
        mine: Document = {"_id": {"$in": keys}, "ended": mark}
        async with self._connection.operation():
            await logins.update_many({"_id": {"$in": keys}, "ended": None}, {"$set": {"ended": mark}})
        found = await self._connection.read("logins", mine, [])

        def event_of(raw: RawBSONDocument) -> Event:
            document = self._connection.decode(raw)
            at = min(document["expires_at"], ends.get(document["session"], document["expires_at"]))
            names = ("tenant", "issuer", "subject")
            event = report(entry_from(ExpiredLogin, [*(document[name] for name in names), to_seconds(at)]))
            require_valid(event)
            return event

        events = await self._entries.read_all(event_of, found, kind=Event)
        await self._outbox.insert("events", [event_document(event) for event in events])
        async with self._connection.operation(seconds=PURGE_SECONDS):
            await logins.delete_many(mine)
            await sessions.delete_many({"_id": {"$in": [*ends]}, **expired})
        return len(ends) + len(found)

    async def delete(self, tenant: str, *, signed_in_until: float, most: int) -> int:
        require_short(tenant=tenant)
        require_numbers(most=most)
        require_times(signed_in_until=signed_in_until)
        query = {"tenant": tenant, "signed_in_at": {"$lte": signed_in_until}}
        logins = self._connection.collection("logins")
        deleted = 0
        while deleted < most:
            some = min(_DELETED_AT_ONCE, most - deleted)
            async with self._connection.operation():
                found = await logins.find(query, {"_id": 1, "session": 1}).limit(some).to_list(None)
                keys = [document["_id"] for document in found]
                done = await logins.delete_many({"_id": {"$in": keys}, **query})
            deleted += done.deleted_count
            if len(found) < some:
                break
        return deleted

    def _login(self, raw: RawBSONDocument) -> Login:
        return login_of(self._connection.decode(raw))

    def _entry(self, raw: RawBSONDocument) -> TenantLogin:
        document = self._connection.decode(raw)
        session = session_of(document["sessions"][0])
        return TenantLogin(login_of(document), session.last_seen_at, session.device)


def _position_of(raw: RawBSONDocument) -> Position | None:
    """The place of a login that was received; None if that cannot be read."""
    at, key = place_in("signed_in_at", raw), place_in("_id", raw)
    return Position(at, key) if isinstance(at, int | float) and isinstance(key, str) else None


def _after(before: Position | None) -> Document:
    """The condition for logins after a place in the list."""
    if before is None:
        return {}
    at = before.signed_in_at
    return {"$or": [{"signed_in_at": {"$lt": at}}, {"signed_in_at": at, "_id": {"$lt": before.login_id}}]}


def _unexpired(tenant: str, registrations: Collection[str] | None, now: float) -> Document:
    query: Document = {"tenant": tenant, "expires_at": {"$gt": to_date(now)}}
    if registrations is not None:
        query["registration"] = {"$in": list(registrations)}
    return query
