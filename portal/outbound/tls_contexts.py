"""TLS contexts for the certificates and authorities of providers: each is made once, off the event loop."""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from pathlib import Path

import certifi

from portal.errors import OutboundRefused
from portal.outbound.tls import PLAIN, Tls
from portal.outbound.tls_context import PemUnusable, tls_context

KEPT = 256
"""Contexts of providers that are kept; each holds a certificate store."""


class TlsContexts:
    """Makes a context when one is needed, and forgets the one not used for longest.

    Parameters: kept, how many contexts are kept beside the one for `PLAIN`.
    """

    def __init__(self, *, kept: int = KEPT) -> None:
        self._kept = kept
        self._plain = system_tls_context()
        self._made: OrderedDict[Tls, ssl.SSLContext] = OrderedDict()
        self._making: dict[Tls, asyncio.Task[ssl.SSLContext]] = {}

    async def get(self, tls: Tls) -> ssl.SSLContext:
        """The context of these settings; reading certificates takes long, so a thread does it, and once.

        Raises: OutboundRefused when certificate or authorities cannot be used.
        """
        if tls == PLAIN:
            return self._plain
        context = self._made.get(tls)
        if context is None:
            making = self._making.get(tls) or self._make(tls)
            context = await asyncio.shield(making)
        if tls in self._made:
            self._made.move_to_end(tls)
        return context

    def _make(self, tls: Tls) -> asyncio.Task[ssl.SSLContext]:
        making = self._making[tls] = asyncio.ensure_future(asyncio.to_thread(_context, tls))
        making.add_done_callback(lambda done: self._keep(tls, done))
        return making

    def _keep(self, tls: Tls, making: asyncio.Task[ssl.SSLContext]) -> None:
        del self._making[tls]
        if making.cancelled() or making.exception() is not None:
            return
        self._made[tls] = making.result()
        while len(self._made) > self._kept:
            self._made.popitem(last=False)


def system_tls_context() -> ssl.SSLContext:
    """A context that trusts the system's certificate authorities; where there are none, certifi's."""
    paths = ssl.get_default_verify_paths()
    has_system_store = bool(paths.cafile) or (bool(paths.capath) and any(Path(paths.capath).iterdir()))
    context = ssl.create_default_context(cafile=None if has_system_store else certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


def _context(tls: Tls) -> ssl.SSLContext:
    try:
        return tls_context(tls, system_tls_context)
    except PemUnusable as error:
        raise OutboundRefused(f"certificate: it {error}") from error
