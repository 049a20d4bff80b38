"""TLS contexts for the certificates and authorities of providers: each is made once, in a thread.

It also owns what their connections share: TLS sessions, and the threads for handshakes.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import certifi

from portal.errors import OutboundFailed, OutboundRefused
from portal.outbound.handshake_budget import HandshakeTurn
from portal.outbound.handshake_threads import HandshakeThreads
from portal.outbound.tls import DEFAULT_TLS, PemUnusable, Tls, for_http, tls_context
from portal.outbound.tls_connection import TlsClient
from portal.outbound.tls_sessions import TlsSessions

KEPT = 256
"""Number of cached contexts of providers; each contains a certificate store."""

HANDSHAKE_THREADS = 4
_SESSION_BYTES = 400_000
"""Limit in memory for the sessions of a context of one tenant; usually one or two, of 50,000 bytes each."""
_DEFAULT_SESSION_BYTES = 48_000_000
"""Limit in memory for the sessions of all tenants that use the system's certificate authorities."""

_Key = tuple[str, Tls]
"""A tenant and its settings: two tenants never share a context or its sessions."""


@dataclass(frozen=True, slots=True)
class _Context:
    context: ssl.SSLContext
    sessions: TlsSessions


class TlsContexts:
    """Makes contexts when they are needed, and caches the most recently used ones.

    Parameters: kept, number of cached contexts, without the one for `DEFAULT_TLS`.
    """

    def __init__(self, *, kept: int = KEPT) -> None:
        self._kept = kept
        self._default = _Context(system_tls_context(), TlsSessions(_DEFAULT_SESSION_BYTES))
        self._made: OrderedDict[_Key, _Context] = OrderedDict()
        self._making: dict[_Key, asyncio.Task[ssl.SSLContext]] = {}
        self._threads = HandshakeThreads(HANDSHAKE_THREADS)
        self._turns: dict[str, HandshakeTurn] = {}
        """By tenant, never removed: a changed tenant file must not come with a new budget."""

    async def get(self, tls: Tls, *, tenant: str = "") -> TlsClient:
        """A client for handshakes with these settings; a thread loads their certificates, once.

        Raises: OutboundRefused when certificate or authorities cannot be used; OutboundFailed while the
        tenant's handshakes have used too much CPU time.
        """
        turn = self._turns.get(tenant)
        if turn is None:
            turn = self._turns[tenant] = HandshakeTurn(self._threads)
        pause = turn.budget.pause(time.monotonic())
        if pause:
            raise OutboundFailed(f"TLS handshakes took too long; the next is made in {math.ceil(pause)} s")
        made = self._default if tls == DEFAULT_TLS else await self._own(tenant, tls)
        return TlsClient(made.context, made.sessions, turn, tenant)

    async def close(self) -> None:
        """End the threads, after the steps of handshakes that they are at. Closing twice is allowed."""
        await self._threads.close()

    async def _own(self, tenant: str, tls: Tls) -> _Context:
        key = tenant, tls
        made = self._made.get(key)
        if made is None:
            context = await asyncio.shield(self._making.get(key) or self._make(key))
            made = self._made.get(key) or _Context(context, TlsSessions(_SESSION_BYTES))
        if key in self._made:
            self._made.move_to_end(key)
        return made

    def _make(self, key: _Key) -> asyncio.Task[ssl.SSLContext]:
        making = asyncio.ensure_future(asyncio.to_thread(_context, key[1]))
        self._making[key] = making
        making.add_done_callback(lambda done: self._keep(key, done))
        return making

    def _keep(self, key: _Key, making: asyncio.Task[ssl.SSLContext]) -> None:
        del self._making[key]
        if making.cancelled() or making.exception() is not None:
            return
        self._made[key] = _Context(making.result(), TlsSessions(_SESSION_BYTES))
        while len(self._made) > self._kept:
            self._made.popitem(last=False)


def system_tls_context() -> ssl.SSLContext:
    """A context that trusts the system's certificate authorities or, if there are none, certifi's."""
    paths = ssl.get_default_verify_paths()
    has_system_store = bool(paths.cafile) or (bool(paths.capath) and any(Path(paths.capath).iterdir()))
    return for_http(ssl.create_default_context(cafile=None if has_system_store else certifi.where()))


def _context(tls: Tls) -> ssl.SSLContext:
    try:
        return tls_context(tls, system_tls_context)
    except PemUnusable as error:
        raise OutboundRefused(f"certificate: it {error}") from error
