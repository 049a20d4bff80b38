"""Connection pools for certificates and authorities of providers: one for each, never shared."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from portal.errors import OutboundRefused
from portal.outbound.connections import Pool, system_tls_context
from portal.outbound.tls import Tls
from portal.outbound.tls_context import PemUnusable, tls_context

KEPT = 256
"""Pools that are kept when nobody uses them; each holds a certificate store."""


@dataclass(slots=True)
class _Held:
    pool: Pool
    users: int = 0


class TlsPools:
    """Makes a pool when one is needed, and closes the ones not used for longest.

    Parameters: make, a pool for a TLS context; kept, how many pools stay open unused.
    """

    def __init__(self, make: Callable[[ssl.SSLContext], Pool], *, kept: int = KEPT) -> None:
        self._make = make
        self._kept = kept
        self._held: OrderedDict[Tls, _Held] = OrderedDict()
        self._making: dict[Tls, asyncio.Future[ssl.SSLContext]] = {}
        self._closed = False

    @contextlib.asynccontextmanager
    async def pool(self, tls: Tls) -> AsyncIterator[Pool]:
        """The pool of these TLS settings, kept open for as long as the block runs.

        Raises: OutboundRefused when certificate or authorities cannot be used.
        """
        held = self._held.get(tls) or await self._made(tls)
        self._held.move_to_end(tls)
        held.users += 1
        if self._closed:
            await held.pool.close()
        try:
            yield held.pool
        finally:
            held.users -= 1
            await self._close_unused()

    async def close(self) -> None:
        """Close every pool, also those in use."""
        self._closed = True
        for held in list(self._held.values()):
            await held.pool.close()

    async def _close_unused(self) -> None:
        surplus = max(0, len(self._held) - self._kept)
        unused = [tls for tls, held in self._held.items() if held.users == 0]
        # all are out of reach before the first is waited for
        closing = [self._held.pop(tls).pool for tls in unused[:surplus]]
        for pool in closing:
            await pool.close()

    async def _made(self, tls: Tls) -> _Held:
        """A new pool; its context is made in a thread, as reading certificates takes long, and once."""
        making = self._making.get(tls)
        if making is None:
            making = self._making[tls] = asyncio.ensure_future(asyncio.to_thread(_context, tls))
            making.add_done_callback(lambda _: self._making.pop(tls))
        context = await asyncio.shield(making)
        held = self._held.get(tls)
        if held is None:
            held = self._held[tls] = _Held(self._make(context))
        return held


def _context(tls: Tls) -> ssl.SSLContext:
    try:
        return tls_context(tls, system_tls_context)
    except PemUnusable as error:
        raise OutboundRefused(f"certificate: it {error}") from error
