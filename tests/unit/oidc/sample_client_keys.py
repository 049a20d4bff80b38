"""Client keys of the portal, generated once for all tests."""

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
from tests.kit.key_making import rsa_jwk
from tests.unit.oidc.signing import NOW

_RSA = ("RS256", "PS256", "RSA")


def sample_jwk(kind: str, which: int = 0) -> Mapping[str, Any]:
    """Return a private JWK; `which` distinguishes keys of one kind."""
    return _generated(kind, which)


@functools.cache
def _generated(kind: str, which: int) -> Mapping[str, Any]:
    if kind in _RSA:
        return rsa_jwk(2 * (len(_RSA) * which + _RSA.index(kind)) + 1)  # even numbers: signing.py
    return new_private_jwk(kind)


@functools.cache
def sample_key(kind: str, which: int = 0, created_at: float = NOW - 86_400) -> ClientKey:
    """Return one client key."""
    use: Use = "sig" if kind in SIGNING_ALGORITHMS else "enc"
    return client_key(sample_jwk(kind, which), use=use, kind=kind, created_at=created_at)


def make_client_keys(*keys: ClientKey, now: float = NOW) -> ClientKeySet:
    """Return a set of these keys, or of one key of each kind."""
    every = keys or tuple(sample_key(kind) for kind in (*SIGNING_ALGORITHMS, *ENCRYPTION_KEYS))
    return ClientKeySet(every, clock=lambda: now)
