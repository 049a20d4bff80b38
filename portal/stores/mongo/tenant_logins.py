"""The logins at a tenant, in MongoDB."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from bson.raw_bson import RawBSONDocument

from portal.stores.mongo.connection import MongoConnection
from portal.stores.mongo.documents import Document, login_of, session_of, to_date
from portal.stores.mongo.queries import WITH_SESSION, live_session
from portal.stores.record_checks import require_numbers, require_short, require_times
from portal.stores.stored_entries import EntryReader
from portal.stores.tenant_logins import (
    LiveCounts,
    Position,
    TenantLogin,
    UserKey,
    require_position,
    require_registrations,
    require_users,
)

_DELETED_AT_ONCE = 1000


class MongoTenantLogins:
    """See `portal.stores.tenant_logins.TenantLogins`."""

    def __init__(self, connection: MongoConnection, entries: EntryReader) -> None:
        self._connection = connection
        self._entries = entries

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
        query = _unexpired(tenant, registrations, now)
        if before is not None:
            at = before.signed_in_at
            query["$or"] = [
                {"signed_in_at": {"$lt": at}},
                {"signed_in_at": at, "_id": {"$lt": before.login_id}},
            ]
        return [*await self._newest(query, most, now)]

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

    async def _newest(self, query: Document, most: int, now: float) -> Sequence[TenantLogin]:
        stages: list[Document] = [
            {"$sort": {"signed_in_at": -1, "_id": -1}},
            WITH_SESSION,
            {"$match": {"sessions": {"$elemMatch": live_session(now)}}},
            {"$limit": most},
        ]
        found = await self._connection.read("logins", query, stages)
        return await self._entries.read_all(self._entry, found, kind=TenantLogin)

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

    def _entry(self, raw: RawBSONDocument) -> TenantLogin:
        document = self._connection.decode(raw)
        session = session_of(document["sessions"][0])
        return TenantLogin(login_of(document), session.last_seen_at, session.device)


def _unexpired(tenant: str, registrations: Collection[str] | None, now: float) -> Document:
    query: Document = {"tenant": tenant, "expires_at": {"$gt": to_date(now)}}
    if registrations is not None:
        query["registration"] = {"$in": list(registrations)}
    return query
