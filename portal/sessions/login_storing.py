"""The two writes at the end of a sign-in, made so that a broken connection does not cost the sign-in.

Both may be done although the database did not say so. A secret is read back; a login is stored again.
"""

from __future__ import annotations

import asyncio

from portal.errors import LoginNotStored, StoreUnavailable
from portal.secret import Secret
from portal.sessions.credentials import SessionCookie
from portal.stores.model import Login, Session
from portal.stores.store import Store

PAUSES = (0.1, 0.4)
"""Seconds before a login is stored a second and a third time."""


async def add_to_session(
    store: Store, session: Session, renewed: SessionCookie, login: Login, idle_expires_at: float
) -> bool:
    """Give a session the secret of a new cookie and store a login in it; False when the session is gone.

    First the old secret dies, then the login appears: who knew the cookie before never sees it.
    `idle_expires_at` is in seconds, UTC.
    Raises StoreUnavailable; LoginNotStored when the session has its new secret already.
    """
    if not await _replace_secret(store, session, renewed, login.signed_in_at, idle_expires_at):
        return False
    try:
        await put_login(store, login)
    except StoreUnavailable as error:  # the session's other logins are reached by the new secret
        raise LoginNotStored(error.detail, cookie=Secret(renewed.value)) from error
    return True


async def _replace_secret(
    store: Store, session: Session, renewed: SessionCookie, moment: float, idle_expires_at: float
) -> bool:
    try:
        return await store.rotate_session(
            session.id,
            old_secret_hash=session.secret_hash,
            new_secret_hash=renewed.secret_hash,
            last_seen_at=moment,
            idle_expires_at=idle_expires_at,
        )
    except StoreUnavailable:  # it may be done, and only the acknowledgement lost
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
