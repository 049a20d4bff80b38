"""The two database writes at the end of a sign-in, which survive a broken connection.

A write may succeed although its acknowledgement was lost. So the portal reads a new session secret back, and
writes a login again.
"""

from __future__ import annotations

import asyncio

from portal.errors import LoginNotStored, StoreUnavailable
from portal.secret import Secret
from portal.sessions.credentials import SessionCookie
from portal.stores.model import Login, Session
from portal.stores.store import Store

PAUSES = (0.1, 0.4)
"""Seconds before the second and the third attempt to store a login."""


async def add_to_session(
    store: Store, session: Session, renewed: SessionCookie, login: Login, idle_expires_at: float
) -> bool:
    """Replace the secret of a session and store a login in it; False when the session is gone.

    The secret is replaced first, so the old cookie never gives access to the new login.
    `idle_expires_at` is in seconds, UTC.
    Raises StoreUnavailable; LoginNotStored when the session already has its new secret.
    """
    if not await _replace_secret(store, session, renewed, login.signed_in_at, idle_expires_at):
        return False
    try:
        await put_login(store, login)
    except StoreUnavailable as error:  # the other logins of the session need the new secret
        raise LoginNotStored(error.detail, cookie=Secret(renewed.value)) from error
    return True


async def _replace_secret(
    store: Store, session: Session, renewed: SessionCookie, now: float, idle_expires_at: float
) -> bool:
    try:
        return await store.rotate_session(
            session.id,
            old_secret_hash=session.secret_hash,
            new_secret_hash=renewed.secret_hash,
            last_seen_at=now,
            idle_expires_at=idle_expires_at,
        )
    except StoreUnavailable:  # the write may have succeeded without its acknowledgement
        sessions, _ = await store.read((session.id,), (), now=store.time())
        if session.id in sessions and sessions[session.id].secret_hash == renewed.secret_hash:
            return True
        raise


async def put_login(store: Store, login: Login) -> None:
    """Store a login. Raises StoreUnavailable."""
    for pause in PAUSES:
        try:
            await store.put_login(login)
        except StoreUnavailable:
            await asyncio.sleep(pause)
        else:
            return
    await store.put_login(login)
