"""The two writes at the end of a sign-in, made so that a broken connection does not cost the sign-in.

Both may be done although the database did not say so. A secret is read back; a login is stored again.
"""

from __future__ import annotations

import asyncio

from portal.errors import StoreUnavailable
from portal.sessions.credentials import SessionCookie
from portal.sessions.model import Login, Session
from portal.sessions.store import Store

PAUSES = (0.1, 0.4)
"""Seconds before a login is stored a second and a third time."""


async def replace_secret(
    store: Store, session: Session, renewed: SessionCookie, moment: float, idle_expires_at: float
) -> bool:
    """Give a session the secret of a new cookie; False when it is gone or somebody else has done so.

    `moment`, when it was last used, and `idle_expires_at` are seconds, UTC. Raises StoreUnavailable.
    """
    try:
        return await store.rotate_session(
            session.id,
            old_secret_hash=session.secret_hash,
            new_secret_hash=renewed.secret_hash,
            last_seen_at=moment,
            idle_expires_at=idle_expires_at,
        )
    except StoreUnavailable:
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
