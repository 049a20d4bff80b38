"""Who is told that a login ended without its user: see `SessionParts`."""

from __future__ import annotations

from collections.abc import Callable

from portal.stores.model import Login

Ended = Callable[[Login, str], None]
"""Called with a login that has ended, and the reason in words."""


def ignore_end(login: Login, reason: str) -> None:
    """Tell nobody."""
