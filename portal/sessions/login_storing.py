"""The database write at the end of a sign-in, which survives a broken connection.

A write may succeed, fully or in part, although its acknowledgement was lost. So the portal reads the session
back, and writes a login that was not stored with it. A login that was stored with its session is never
written again: if it is missing, the provider or the user has ended it meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from portal.errors import FailedBeforeLogin, LoginNotStored, StoredWithoutLogin, StoreUnavailable
from portal.secret import Secret
from portal.sessions.credentials import SessionCookie
from portal.stores.model import Login, Session
from portal.stores.store import Store

_T = TypeVar("_T")

PAUSES = (0.1, 0.4)
"""Seconds before the second and the third attempt to store a login, or to move it."""


async def add_session(store: Store, session: Session, login: Login) -> None:
    """Store a new session with its first login. Raises StoreUnavailable."""
    try:
        await store.add_session(session, login=login)
    except StoreUnavailable as error:
        if await _needs_login(store, session.id, session.secret_hash, after=error):
            await retried(lambda: store.put_login(login))


async def add_to_session(
    store: Store, session: Session, renewed: SessionCookie, login: Login, idle_expires_at: float
) -> bool:
    """Replace the secret of a session and store a login in it; False when the session is gone.

    The secret is replaced first, so the old cookie never gives access to the new login.
    `idle_expires_at` is in seconds, UTC.
    Raises StoreUnavailable; LoginNotStored when the session already has its new secret.
    """
    try:
        return await store.rotate_session(
            session.id,
            old_secret_hash=session.secret_hash,
            new_secret_hash=renewed.secret_hash,
            last_seen_at=login.signed_in_at,
            idle_expires_at=idle_expires_at,
            login=login,
        )
    except StoreUnavailable as error:
        if not await _needs_login(store, session.id, renewed.secret_hash, after=error):
            return True
    try:
        await retried(lambda: store.put_login(login))
    except StoreUnavailable as error:  # the other logins of the session need the new secret
        raise LoginNotStored(error.detail, cookie=Secret(renewed.value)) from error
    return True


async def _needs_login(store: Store, session_id: str, secret_hash: str, *, after: StoreUnavailable) -> bool:
    """Whether a write that raised an error stored a session without its login.

    Raises that error unless the session is stored with this secret.
    """
    if isinstance(after, StoredWithoutLogin):
        return True
    sessions, _ = await store.read((session_id,), (), now=store.time())
    if session_id not in sessions or sessions[session_id].secret_hash != secret_hash:
        raise after
    return isinstance(after, FailedBeforeLogin)


async def retried(operation: Callable[[], Awaitable[_T]]) -> _T:
    """Run an operation of the database, up to three times. Raises StoreUnavailable."""
    for pause in PAUSES:
        try:
            return await operation()
        except StoreUnavailable:
            await asyncio.sleep(pause)
    return await operation()
