"""TLS contexts for the certificates and authorities of providers: each is made once, off the event loop."""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections import OrderedDict
from pathlib import Path

import certifi

from portal.errors import OutboundFailed, OutboundRefused
from portal.outbound.handshake_budget import HandshakeBudget, measure
from portal.outbound.tls import PLAIN, Tls
from portal.outbound.tls_context import PemUnusable, tls_context

KEPT = 256
"""Contexts of providers that are kept; each holds a certificate store."""

_Key = tuple[str, Tls]
"""A tenant and its settings: what handshakes take is charged to the tenant."""


class TlsContexts:
    """Makes a context when one is needed, and forgets the one not used for longest.

    Parameters: kept, how many contexts are kept beside the one for `PLAIN`.
    """

    def __init__(self, *, kept: int = KEPT) -> None:
        self._kept = kept
        self._plain = system_tls_context()
        self._made: OrderedDict[_Key, ssl.SSLContext] = OrderedDict()
        self._making: dict[_Key, asyncio.Task[ssl.SSLContext]] = {}
        self._budgets: dict[str, HandshakeBudget] = {}
        """By tenant, and kept: a changed file brings no new share of the event loop."""

    async def get(self, tls: Tls, *, tenant: str = "") -> ssl.SSLContext:
        """The context of these settings; reading certificates takes long, so a thread does it, and once.

        Raises: OutboundRefused when certificate or authorities cannot be used; OutboundFailed while the
        tenant's handshakes have taken too much of the event loop's time.
        """
        if tls == PLAIN:
            return self._plain
        budget = self._budgets.setdefault(tenant, HandshakeBudget())
        pause = budget.pause(time.monotonic())
        if pause:
            raise OutboundFailed(f"TLS handshakes took too long; the next is made in {math.ceil(pause)} s")
        key = tenant, tls
        context = self._made.get(key)
        if context is None:
            making = self._making.get(key) or self._make(key, budget)
            context = await asyncio.shield(making)
        if key in self._made:
            self._made.move_to_end(key)
        return context

    def _make(self, key: _Key, budget: HandshakeBudget) -> asyncio.Task[ssl.SSLContext]:
        making = asyncio.ensure_future(asyncio.to_thread(_context, key[1], budget))
        self._making[key] = making
        making.add_done_callback(lambda done: self._keep(key, done))
        return making

    def _keep(self, key: _Key, making: asyncio.Task[ssl.SSLContext]) -> None:
        del self._making[key]
        if making.cancelled() or making.exception() is not None:
            return
        self._made[key] = making.result()
        while len(self._made) > self._kept:
            self._made.popitem(last=False)


def system_tls_context() -> ssl.SSLContext:
    """A context that trusts the system's certificate authorities; where there are none, certifi's."""
    paths = ssl.get_default_verify_paths()
    has_system_store = bool(paths.cafile) or (bool(paths.capath) and any(Path(paths.capath).iterdir()))
    context = ssl.create_default_context(cafile=None if has_system_store else certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


def _context(tls: Tls, budget: HandshakeBudget) -> ssl.SSLContext:
    try:
        context = tls_context(tls, system_tls_context)
    except PemUnusable as error:
        raise OutboundRefused(f"certificate: it {error}") from error
    measure(context, budget)
    return context
