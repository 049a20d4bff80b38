"""A provider's signing keys (RFC 7517, OIDC Core 10.1)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from jose.backends.base import Key

from portal.clock import Clock
from portal.oidc.cache import DocumentCache, Fetched, lifetime
from portal.oidc.errors import KeysRejected
from portal.oidc.jose.algorithms import CURVES, fits, public_key
from portal.oidc.jose.json_reading import JsonUnreadable, read_object
from portal.oidc.jose.key_material import KeyUnusable
from portal.oidc.provider import Provider
from portal.oidc.provider_call import get_document
from portal.oidc.provider_health import UNRECORDED, ProviderCalls
from portal.oidc.quoting import address, kind_of
from portal.oidc.refetch_budget import RefetchBudget
from portal.outbound.client import OutboundClient

T = TypeVar("T")

_MAX_BYTES = 128_000
_MAX_KEYS = 100
_MAX_REFETCHES = 3
"""How often one token is validated again with newer keys."""
_MAX_CANDIDATES = 4
"""Keys with the same `kid` that are tried; more than one is already an error of the provider."""
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_USED = frozenset({"kty", "use", "alg", "kid", "n", "e", "crv", "x", "y", "issuer"})
_KEY_BYTES = 4_000
"""Approximate memory of a key object."""
_BASE64URL = re.compile(r"[A-Za-z0-9_-]{1,3000}={0,2}")
_SHORTEST_MODULUS = 342
"""Characters of base64url for 2048 bits (RFC 7518 3.3)."""
_LONGEST_MODULUS = 1366
"""Characters of base64url for 8192 bits; verification with longer keys is too slow."""
_LONGEST_EXPONENT = 6
"""Characters of base64url for 32 bits."""


class KeySet:
    """The public keys of one provider. Key objects are created on first use and cached."""

    def __init__(self, members: Sequence[Mapping[str, object]]) -> None:
        self.members = tuple(members)
        self._keys: dict[tuple[int, str], Key | None] = {}

    @property
    def size(self) -> int:
        """Approximate memory in bytes once all key objects exist."""
        return sum(_KEY_BYTES + 3 * len(json.dumps(member)) for member in self.members)

    def candidates(self, alg: str, kid: str | None) -> list[tuple[Key, str | None]]:
        """Return the keys, with curves, that may have signed a token; without `kid`, only a single match."""
        fitting = (
            (key, str(member["crv"]) if "crv" in member else None)
            for index, member in enumerate(self.members)
            if (kid is None or member.get("kid") == kid)
            and fits(member, alg)
            and (key := self._key(index, alg)) is not None
        )
        found = list(islice(fitting, _MAX_CANDIDATES))  # lazily: creating a key object is slow
        # OIDC Core 10.1: a kid is required when there are several keys to choose from
        return [] if kid is None and len(found) > 1 else found

    def kids(self, alg: str) -> list[object]:
        """Return the `kid` of each key for this algorithm; None for a key without one."""
        return [member.get("kid") for member in self.members if fits(member, alg)]

    def issuers(self, alg: str, kid: str | None) -> list[set[str]]:
        """Return, for each key that `candidates` returns, the issuers that it may sign for; empty: any."""
        return [
            {issuer} if isinstance(issuer := member.get("issuer"), str) else set()
            for member in self.members
            if (kid is None or member.get("kid") == kid) and fits(member, alg)
        ]

    def _key(self, index: int, alg: str) -> Key | None:
        if (index, alg) not in self._keys:
            try:
                self._keys[index, alg] = public_key(self.members[index], alg)
            except KeyUnusable:
                self._keys[index, alg] = None  # RFC 7517 5: ignore unusable keys
        return self._keys[index, alg]


def parse_key_set(body: bytes) -> KeySet:
    """Read a JWK Set; skip every key that cannot verify ID tokens.

    Raises: KeysRejected when it is not a JWK Set.
    """
    try:
        document = read_object(body)
    except JsonUnreadable as error:
        raise KeysRejected(f"the key set cannot be read: {error}") from error
    members = document.get("keys")
    if not isinstance(members, list):
        raise KeysRejected(f"keys of the key set is {kind_of(members)}; expected a list")
    if len(members) > _MAX_KEYS:
        raise KeysRejected(f"the key set has {len(members)} keys; expected no more than {_MAX_KEYS} keys")
    return KeySet([_used(member) for member in members if isinstance(member, dict) and _may_sign(member)])


def _used(member: Mapping[str, object]) -> Mapping[str, object]:
    """Keep only the members that verification needs; drop certificates and the like to save memory."""
    return {name: value for name, value in member.items() if name in _USED}


def _may_sign(member: Mapping[str, object]) -> bool:
    """Whether this is a public key for signatures (RFC 7517 4.2 and 4.3)."""
    operations = member.get("key_ops", ["verify"])
    return (
        member.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and isinstance(member.get("kid", ""), str)
        and isinstance(member.get("alg", ""), str)
        and _PRIVATE_MEMBERS.isdisjoint(member)
        and _has_public_parts(member)
    )


def _has_public_parts(member: Mapping[str, object]) -> bool:
    """Whether the parts of a public key are present, with a supported type and size."""
    match member.get("kty"):
        case "RSA":
            modulus, exponent = _text(member, "n"), _text(member, "e")
            return (
                _SHORTEST_MODULUS <= len(modulus) <= _LONGEST_MODULUS
                and 1 <= len(exponent) <= _LONGEST_EXPONENT
            )
        case "EC":
            return _known_curve(member) and bool(_text(member, "x") and _text(member, "y"))
        case "OKP":
            return _known_curve(member) and bool(_text(member, "x"))
        case _:
            return False


def _known_curve(member: Mapping[str, object]) -> bool:
    return any(member.get("crv") in curves for curves in CURVES.values())


def _text(member: Mapping[str, object], name: str) -> str:
    value = member.get(name)
    return value.rstrip("=") if isinstance(value, str) and _BASE64URL.fullmatch(value) else ""


class KeySource:
    """The key sets of all providers, cached per registration, issuer and URL."""

    def __init__(self, http: OutboundClient, *, clock: Clock, calls: ProviderCalls = UNRECORDED) -> None:
        self._http = http
        self._calls = calls
        self._clock = clock
        self._sets: DocumentCache[KeySet] = DocumentCache(clock)
        self._budget = RefetchBudget(clock)

    async def get(self, provider: Provider, jwks_uri: str) -> KeySet:
        """Return the provider's keys.

        Raises: KeysRejected, OutboundRefused, ProviderUnavailable.
        """
        return await self._sets.get(
            self._cache_key(provider, jwks_uri),
            lambda: self._calls.record(provider, self._load(provider, jwks_uri)),
            owner=provider.tenant,
            settings=provider,
        )

    async def validated(
        self,
        provider: Provider,
        jwks_uri: str,
        keys: KeySet,
        validate: Callable[[KeySet], T],
        *,
        unknown: type[Exception],
        purpose: str = "login",
    ) -> T:
        """Return what `validate` returns for these keys or, when no key matches, for newer keys.

        OIDC Core 10.1.1. Keys that another caller has fetched may be outdated as well: only the result of a
        fetch that this call started is final.

        Parameters: keys, the result of `get`; unknown, the error of `validate` when no key matches; purpose,
        what the keys are for. Each purpose has its own budget: anonymous senders of logout tokens with
        invented `kid`s must not exhaust the budget of logins.
        Raises: as get, and what `validate` raises.
        """
        for _ in range(_MAX_REFETCHES):
            try:
                return validate(keys)
            except unknown:
                keys, is_newest = await self._refetch(provider, jwks_uri, lacking=keys, purpose=purpose)
                if is_newest:
                    break
        return validate(keys)

    async def _refetch(
        self, provider: Provider, jwks_uri: str, *, lacking: KeySet, purpose: str
    ) -> tuple[KeySet, bool]:
        """Return keys to try instead of `lacking`, and whether they are the newest available."""
        cache_key = self._cache_key(provider, jwks_uri)
        cached = self._sets.current(cache_key)
        if cached is not None and cached is not lacking:
            return cached, False
        joins = self._sets.is_loading(cache_key)
        if not joins and cached is not None and not self._budget.take((provider.key, purpose)):
            return cached, True
        keys = await self._sets.load(
            cache_key,
            lambda: self._calls.record(provider, self._load(provider, jwks_uri)),
            owner=provider.tenant,
            settings=provider,
        )
        return keys, not joins

    async def close(self) -> None:
        """Cancel running fetches."""
        await self._sets.close()

    def _cache_key(self, provider: Provider, jwks_uri: str) -> tuple[str, str, str]:
        return provider.key, provider.issuer, jwks_uri

    async def _load(self, provider: Provider, jwks_uri: str) -> Fetched[KeySet]:
        response = await get_document(
            self._http,
            jwks_uri,
            tenant=provider.tenant,
            endpoint="keys",
            max_bytes=_MAX_BYTES,
            tls=provider.tls,
        )
        if response.status != 200:
            raise KeysRejected(
                f"{address(jwks_uri)} responded with {response.status}; expected 200 and a key set"
            )
        keys = parse_key_set(response.body)
        return Fetched(keys, lifetime(response), keys.size)
