"""The portal's own keys, made once for all tests, and what opens or checks what was made with them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from portal.oidc.client_keys import (
    ENCRYPTION_KEYS,
    SIGNING_ALGORITHMS,
    ClientKey,
    ClientKeySet,
    Use,
    client_key,
)
from portal.oidc.jose.key_material import new_private_jwk
from tests.unit.oidc.signing import NOW


def made(kind: str, which: int = 0) -> Mapping[str, Any]:
    """A private JWK; `which` tells keys of a kind apart."""
    return _made(kind, which)


@functools.cache
def _made(kind: str, which: int) -> Mapping[str, Any]:
    return new_private_jwk(kind)


def own(kind: str, which: int = 0, created_at: float = NOW - 86_400) -> ClientKey:
    """One of the portal's keys."""
    use: Use = "sig" if kind in SIGNING_ALGORITHMS else "enc"
    return client_key(made(kind, which), use=use, kind=kind, created_at=created_at)


def make_client_keys(*keys: ClientKey, now: float = NOW) -> ClientKeySet:
    """These keys, or one of every kind."""
    every = keys or tuple(own(kind) for kind in (*SIGNING_ALGORITHMS, *ENCRYPTION_KEYS))
    return ClientKeySet(every, clock=lambda: now)
