"""Moves a login from its session to another one, so that a logout at any moment wins.

Not every database changes two entries at once, and each step may fail. So there are three:

1. The session gets its new secret, and a copy of the login that nobody can use: its tokens are still sealed
   for the former session, and cannot be opened in this one.
2. The former session is deleted. The login must have been in it: if not, it has ended.
3. The copy gets tokens that are sealed for this session, unless it was deleted.

A provider finds login and copy by the same `sid` or subject. Its logout before step 2 makes that step find
nothing, one after it deletes the copy, which makes step 3 fail. When the database fails in between, what is
left is a copy without use. From step 1 on, the browser must get the new secret whatever happens.
"""

from __future__ import annotations

import structlog

from portal.errors import LoginNotStored, StoreUnavailable
from portal.secret import Secret
from portal.sessions.credentials import SessionCookie
from portal.sessions.login_storing import add_to_session, retried
from portal.stores.model import Login, Session
from portal.stores.store import Store

_log = structlog.get_logger("portal.sessions")


async def move_login(
    store: Store,
    copy: Login,
    moved: Login,
    *,
    former: str,
    session: Session,
    renewed: SessionCookie,
    idle_expires_at: float,
) -> bool:
    """Move a login to another session; False when that is gone or has another secret, and nothing is changed.

    Parameters: copy, the login in the new session, with tokens that are sealed for the former; moved, with
    its own tokens, and another version; former, the id of the session that has the login; renewed, the new
    cookie of the session; idle_expires_at, of the session, in seconds, UTC.
    Raises StoreUnavailable when nothing is changed; LoginNotStored when the login has ended, or is lost, and
    the session already has its new secret.
    """
    if not await add_to_session(store, session, renewed, copy, idle_expires_at):
        return False
    try:
        if await _is_taken(store, former, copy.tenant) and await _is_replaced(store, copy, moved):
            return True
        reason = "the login ended while it was moved"
        await store.delete_login(session.id, copy.tenant, tokens=copy.tokens)
    except StoreUnavailable as error:
        reason = error.detail
        await _delete_either(store, copy, moved)
    raise LoginNotStored(reason, cookie=Secret(renewed.value))


async def _is_taken(store: Store, former: str, tenant: str) -> bool:
    """Delete the former session; whether it still had the login.

    It has not either when a deletion was done whose acknowledgement was lost: the user signs in again.
    """
    ended = await retried(lambda: store.delete_session(former))
    return any(login.tenant == tenant for login in ended)


async def _is_replaced(store: Store, copy: Login, moved: Login) -> bool:
    """Let the copy have its own tokens; False when it was deleted."""
    if await retried(lambda: store.swap_login(moved, expected_version=copy.version)):
        return True
    _, found = await store.read((), (moved.id,), now=store.time())  # an attempt before may have done it
    return moved.id in found and found[moved.id].tokens == moved.tokens


async def _delete_either(store: Store, copy: Login, moved: Login) -> None:
    """Delete what the database has of a login that is lost; a copy that stays has no use."""
    try:
        for login in (moved, copy):
            await store.delete_login(login.session, login.tenant, tokens=login.tokens)
    except StoreUnavailable as error:
        _log.warning("moved_login_not_deleted", tenant=copy.tenant, error=type(error).__name__)
