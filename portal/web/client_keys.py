"""The portal's public signing and encryption keys, for providers."""

from __future__ import annotations

from portal.errors import NotFound
from portal.time_slices import in_slices
from portal.web.base import PortalHandler
from portal.web.registration import client_key_set

MAX_AGE = 300
"""Seconds for which providers may cache the response. A new key starts to sign after twice that time."""


class KeySetHandler(PortalHandler):
    """`GET /.well-known/jwks.json`: a JWK Set (RFC 7517 5) of public keys only."""

    async def get(self) -> None:
        self.set_header("Cache-Control", f"public, max-age={MAX_AGE}")
        self.finish(dict(self.portal.client_keys.public_jwks()))

    head = get


class TenantKeySetHandler(PortalHandler):
    """`GET /t/{tenant}/jwks.json`: public keys of the tenant's registrations that have their own keys."""

    async def get(self, tenant: str) -> None:
        providers, client_keys = self.tenant(tenant).providers.values(), self.portal.client_keys
        # one provider per slice: deriving keys that are not cached must not block other requests
        async for provider in in_slices(providers):
            client_key_set(client_keys, [provider])
        keys = client_key_set(client_keys, providers)
        if not keys["keys"]:
            raise NotFound(f"no registration of tenant {tenant} has its own signing key")
        self.set_header("Cache-Control", f"public, max-age={MAX_AGE}")
        self.finish(dict(keys))

    head = get
