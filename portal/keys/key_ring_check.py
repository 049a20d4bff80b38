"""Whether the key ring is the one that sealed what the database holds.

The database keeps, for each key of the ring, a value made from the key by a one-way function (see
`KeyRing.check_values`). Rings that share a key belong together, so that a ring may be rotated on one host
before the others have the new file. A ring that shares none opens nothing that is stored: every user would
be signed out.
"""

from __future__ import annotations

import hmac
import json

import structlog

from portal.errors import StartupError
from portal.keys.key_ring import KeyRing
from portal.stores.store import Store

_log = structlog.get_logger("portal.keys")

KEY_RING = "key_ring"
"""Under which name the database keeps the check values, by kid."""


async def check_key_ring(store: Store, keyring: KeyRing) -> None:
    """Compare a key ring with the database, and write it down there when it is the newer one.

    Raises StartupError when the database holds logins and belongs to another ring; StoreUnavailable.
    """
    text = await store.get_meta(KEY_RING)
    known = _parse(text)
    own = keyring.check_values()
    shared = [kid for kid, value in own.items() if hmac.compare_digest(known.get(kid, ""), value)]
    if known and not shared and await store.has_logins():
        raise StartupError(
            "The key ring is not the one that this database belongs to: no login in it could be opened.",
            remedy=(
                "Bring the key ring file of the other hosts, or its backup; if it is lost, run "
                "`portal key adopt`: users then sign in again."
            ),
        )
    if shared and keyring.newest.kid in known:
        lacking = sorted(known.keys() - own.keys())
        if lacking:
            _log.warning("key_ring_lacks_keys", kids=lacking)
        return
    await store.swap_meta(KEY_RING, expected=text, value=json.dumps(own))  # else another process just did


async def adopt_key_ring(store: Store, keyring: KeyRing) -> None:
    """Let the database belong to this key ring from now on. Raises StoreUnavailable."""
    await store.put_meta(KEY_RING, json.dumps(keyring.check_values()))


def _parse(text: str | None) -> dict[str, str]:
    try:
        known = json.loads(text or "{}")
        return {str(kid): str(value) for kid, value in known.items()}
    except (ValueError, AttributeError, RecursionError):
        raise StartupError(
            "What the database keeps of its key ring cannot be read: the database is damaged.",
            remedy="Bring it back from a backup, or run `portal key adopt`.",
        ) from None
