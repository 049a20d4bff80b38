"""Stores with long timeouts, so that tests do not depend on the speed of the machine."""

from __future__ import annotations

from pathlib import Path

from portal.stores.by_url import store_for
from portal.stores.sqlite.store import SQLiteStore
from portal.stores.tenant_store import Database

_SECONDS = 20


def patient_store(url: str) -> Database:
    """Like `store_for`, but operations wait up to twenty seconds."""
    if url.startswith("sqlite:///"):
        return SQLiteStore(Path(url.removeprefix("sqlite:///")), busy=_SECONDS)
    return store_for(patient_url(url))


def patient_url(url: str) -> str:
    """A MongoDB connection string with long timeouts."""
    milliseconds = _SECONDS * 1000
    options = (
        f"timeoutMS={milliseconds}&serverSelectionTimeoutMS={milliseconds}&connectTimeoutMS={milliseconds}"
    )
    return f"{url}{'&' if '?' in url else '?'}{options}"
