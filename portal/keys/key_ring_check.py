"""Checks that the key ring matches the database.

The database stores a one-way value of each key of the ring (see `KeyRing.check_values`). A ring matches if it
shares a key, so one host may rotate the ring before the others have the new file. A ring that shares no key
decrypts no stored value: every user would be signed out, and tenants of the database would have no secrets.
"""

from __future__ import annotations

import hmac
import json

import structlog

from portal.errors import StartupError
from portal.keys.key_ring import KeyRing
from portal.stores.store import Store
from portal.stores.tenant_store import Database

_log = structlog.get_logger("portal.keys")

KEY_RING = "key_ring"
"""The name of the stored check values in the database."""


async def check_key_ring(store: Database, keyring: KeyRing) -> None:
    """Compare a key ring with the database, and record a newer ring there.

    Raises StartupError when the database has logins or tenants and matches another ring; StoreUnavailable.
    """
    text = await store.get_meta(KEY_RING)
    known = _parse(text)
    own = keyring.check_values()
    shared = [kid for kid, value in own.items() if hmac.compare_digest(known.get(kid, ""), value)]
    if known and not shared and (await store.has_logins() or await store.tenants.list_tenants()):
        raise StartupError(
            "The key ring is not the one that this database belongs to: it decrypts nothing in it.",
            remedy=(
                "Copy the key ring file from another host or a backup; if it is lost, run "
                "`portal key adopt`: users then sign in again, and the secrets of tenants in the database "
                "must be typed again."
            ),
        )
    if shared and keyring.newest.kid in known:
        lacking = sorted(known.keys() - own.keys())
        if lacking:
            _log.warning("key_ring_lacks_keys", kids=lacking)
        return
    await store.swap_meta(KEY_RING, expected=text, value=json.dumps(own))  # false: another process wrote it


async def adopt_key_ring(store: Store, keyring: KeyRing) -> None:
    """Make this key ring the one of the database. Raises StoreUnavailable."""
    await store.put_meta(KEY_RING, json.dumps(keyring.check_values()))


def _parse(text: str | None) -> dict[str, str]:
    try:
        known = json.loads(text or "{}")
        return {str(kid): str(value) for kid, value in known.items()}
    except (ValueError, AttributeError, RecursionError):
        raise StartupError(
            "The record of the key ring in the database cannot be read: the database is damaged.",
            remedy="Restore it from a backup, or run `portal key adopt`.",
        ) from None
