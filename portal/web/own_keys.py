"""The portal's public keys, for providers: what it signs with, and what to encrypt for it."""

from __future__ import annotations

from portal.web.base import PortalHandler

FRESH = 300
"""Seconds for which providers may keep the answer; a new key signs only when twice that has passed."""


class KeySetHandler(PortalHandler):
    """`GET /.well-known/jwks.json`: a JWK Set (RFC 7517 5) of public keys only."""

    async def get(self) -> None:
        self.set_header("Cache-Control", f"public, max-age={FRESH}")
        self.finish(dict(self.portal.own_keys.public_jwks()))

    head = get
