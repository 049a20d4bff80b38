"""TLS sessions, which the next connection to the same server resumes (RFC 8446 2.2, RFC 5077).

A resumed handshake verifies no certificate. So a session is valid only for the tenant, the origin and the
context of the handshake that made it, and for `LONGEST` seconds; then the server is verified again. When a
tenant changes its certificate or authorities, it gets a new context without sessions.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable

from portal.bounded_cache import ByteBoundedCache
from portal.outbound.request import Origin

LONGEST = 600.0
"""Seconds for which a session can be resumed. A connection in constant use can live as long."""

_MEMORY_OF_BYTE = 13
"""Bytes in memory for each byte that the server sent: a session holds the certificates, parsed."""
_LARGEST = 262_144
"""Bytes in memory of one session at most."""

_Key = tuple[str, Origin]


class TlsSessions:
    """The sessions of one TLS context: the latest of each tenant and origin.

    Parameters: max_bytes, limit in memory of all sessions together; clock, monotonic seconds.
    """

    def __init__(self, max_bytes: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: ByteBoundedCache[_Key, tuple[ssl.SSLSession, float]] = ByteBoundedCache(
            max_bytes, max_value_bytes=_LARGEST
        )

    def get(self, tenant: str, origin: Origin) -> ssl.SSLSession | None:
        """The session to resume; None when there is none or it is too old."""
        kept = self._kept.get((tenant, origin))
        if kept is None:
            return None
        session, verified_at = kept
        if self._clock() - verified_at > LONGEST:
            self.discard(tenant, origin)
            return None
        return session

    def put(self, tenant: str, origin: Origin, session: ssl.SSLSession, *, size: int) -> None:
        """Store the session of a full handshake that has just been made.

        Parameters: size, bytes that the server sent, an upper bound of ticket and certificate.
        """
        if session.has_ticket:
            kept = session, self._clock()
            self._kept.put((tenant, origin), kept, size=size * _MEMORY_OF_BYTE, owner=tenant)

    def discard(self, tenant: str, origin: Origin) -> None:
        """Remove the session of an origin, after a handshake that offered it has failed."""
        self._kept.discard((tenant, origin))
