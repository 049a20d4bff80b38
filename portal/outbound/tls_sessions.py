"""TLS sessions that the next connection to the same server resumes (RFC 8446 2.2, RFC 5077).

A resumed handshake verifies no certificate, so a session belongs to the context and the origin that it was
verified for, and to one tenant; after `LONGEST` the server is verified again. With another certificate or
other authorities a tenant has another context, and no session of the former.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable

from portal.bounded_cache import ByteBoundedCache
from portal.outbound.request import Origin

LONGEST = 600.0
"""Seconds for which a session is resumed. Connections that are in use all the time live as long, too."""

_MEMORY_OF_BYTE = 13
"""Bytes in memory for each byte that the server sent: a session holds the certificates, parsed."""
_LARGEST = 262_144
"""Bytes in memory of one session at most."""

_Key = tuple[str, Origin]


class TlsSessions:
    """The sessions of one TLS context: the last one of each tenant and origin.

    Parameters: max_bytes, bound of all sessions together in memory; clock, monotonic seconds.
    """

    def __init__(self, max_bytes: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: ByteBoundedCache[_Key, tuple[ssl.SSLSession, float]] = ByteBoundedCache(
            max_bytes, max_value_bytes=_LARGEST
        )

    def get(self, tenant: str, origin: Origin) -> ssl.SSLSession | None:
        """A session that may be resumed now."""
        kept = self._kept.get((tenant, origin))
        if kept is None:
            return None
        session, verified_at = kept
        if self._clock() - verified_at > LONGEST:
            self.discard(tenant, origin)
            return None
        return session

    def put(self, tenant: str, origin: Origin, session: ssl.SSLSession, *, size: int) -> None:
        """Keep the session of a full handshake that was made just now.

        Parameters: size, bytes that the server has sent: ticket and certificate cannot be larger.
        """
        if session.has_ticket:
            kept = session, self._clock()
            self._kept.put((tenant, origin), kept, size=size * _MEMORY_OF_BYTE, owner=tenant)

    def discard(self, tenant: str, origin: Origin) -> None:
        """Forget the session of an origin: a handshake that offered it has failed."""
        self._kept.discard((tenant, origin))
