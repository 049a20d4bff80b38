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
from portal.oidc.quoting import address, kind_of
from portal.oidc.refetch_budget import RefetchBudget
from portal.outbound.client import OutboundClient

T = TypeVar("T")

_MAX_BYTES = 128_000
_MAX_KEYS = 100
_MOST_REFETCHES = 3
"""Times that one token is tried with other keys."""
_MAX_CANDIDATES = 4
"""Keys of one `kid` that a signature is tried with; more than one is a provider's mistake already."""
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_USED = frozenset({"kty", "use", "alg", "kid", "n", "e", "crv", "x", "y", "issuer"})
_KEY_BYTES = 4_000
"""Memory of a key object, about."""
_BASE64URL = re.compile(r"[A-Za-z0-9_-]{1,3000}={0,2}")
_SHORTEST_MODULUS = 342
"""Characters of base64url that hold 2048 bits (RFC 7518 3.3)."""
_LONGEST_MODULUS = 1366
"""8192 bits: longer keys cost more time than they are worth."""
_LONGEST_EXPONENT = 6
"""32 bits."""


class KeySet:
    """Public keys of one provider. Each key object is made once and kept for as long as the set lives."""

    def __init__(self, members: Sequence[Mapping[str, object]]) -> None:
        self.members = tuple(members)
        self._made: dict[tuple[int, str], Key | None] = {}

    @property
    def size(self) -> int:
        """Bytes in memory, about, once every key is made."""
        return sum(_KEY_BYTES + 3 * len(json.dumps(member)) for member in self.members)

    def candidates(self, alg: str, kid: str | None) -> list[tuple[Key, str | None]]:
        """Keys that may have signed a token, each with its curve; without a `kid` only a sole fitting key."""
        fitting = (
            (key, str(member["crv"]) if "crv" in member else None)
            for index, member in enumerate(self.members)
            if (kid is None or member.get("kid") == kid)
            and fits(member, alg)
            and (key := self._key(index, alg)) is not None
        )
        found = list(islice(fitting, _MAX_CANDIDATES))  # making a key takes time: no more than are tried
        # OIDC Core 10.1: a kid is required when there are several keys to choose from
        return [] if kid is None and len(found) > 1 else found

    def kids(self, alg: str) -> list[object]:
        """The ids of the keys that may verify signatures of an algorithm; None for one without an id."""
        return [member.get("kid") for member in self.members if fits(member, alg)]

    def issuers(self, alg: str, kid: str | None) -> list[set[str]]:
        """For each key that `candidates` gives, the issuers that it is said to sign for; empty: any."""
        return [
            {issuer} if isinstance(issuer := member.get("issuer"), str) else set()
            for member in self.members
            if (kid is None or member.get("kid") == kid) and fits(member, alg)
        ]

    def _key(self, index: int, alg: str) -> Key | None:
        if (index, alg) not in self._made:
            try:
                self._made[index, alg] = public_key(self.members[index], alg)
            except KeyUnusable:
                self._made[index, alg] = None  # RFC 7517 5: a key that cannot be used is ignored
        return self._made[index, alg]


def parse_key_set(body: bytes) -> KeySet:
    """Read a JWK Set, leaving out every key that could not have signed an ID token.

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
    """The members that verify signatures: certificates and the like do not stay in memory."""
    return {name: value for name, value in member.items() if name in _USED}


def _may_sign(member: Mapping[str, object]) -> bool:
    """Whether this is a public key that is meant for signatures (RFC 7517 4.2 and 4.3)."""
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
    """Whether the parts of a public key are there, of a kind and size that is used."""
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
    """Key sets of any number of providers, cached per registration, issuer and address."""

    def __init__(self, http: OutboundClient, *, clock: Clock) -> None:
        self._http = http
        self._clock = clock
        self._sets: DocumentCache[KeySet] = DocumentCache(clock)
        self._budget = RefetchBudget(clock)

    async def get(self, provider: Provider, jwks_uri: str) -> KeySet:
        """The provider's keys.

        Raises: KeysRejected, OutboundRefused, ProviderUnavailable.
        """
        return await self._sets.get(
            self._place(provider, jwks_uri),
            lambda: self._load(provider, jwks_uri),
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
        """What `validate` returns for these keys or, when no key fits, for newer ones (OIDC Core 10.1.1).

        Keys that another caller has fetched may again be too old: only a fetch that this call began is the
        last word.

        Parameters: keys, what `get` returned; unknown, what `validate` raises when no key fits; purpose, what
        the keys are for: each has its own budget, so that strangers who send logout tokens with made-up keys
        cannot use up that of the logins.
        Raises: as get, and whatever `validate` raises.
        """
        for _ in range(_MOST_REFETCHES):
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
        """Keys to try in place of `lacking`, and whether there are none newer to be had."""
        place = self._place(provider, jwks_uri)
        held = self._sets.current(place)
        if held is not None and held is not lacking:
            return held, False
        joins = self._sets.under_way(place)
        if not joins and held is not None and not self._budget.take((provider.key, purpose)):
            return held, True
        keys = await self._sets.load(
            place, lambda: self._load(provider, jwks_uri), owner=provider.tenant, settings=provider
        )
        return keys, not joins

    async def close(self) -> None:
        """Stop what is being fetched."""
        await self._sets.close()

    def _place(self, provider: Provider, jwks_uri: str) -> tuple[str, str, str]:
        return provider.key, provider.issuer, jwks_uri

    async def _load(self, provider: Provider, jwks_uri: str) -> Fetched[KeySet]:
        response = await get_document(
            self._http, jwks_uri, tenant=provider.tenant, max_bytes=_MAX_BYTES, tls=provider.tls
        )
        if response.status != 200:
            raise KeysRejected(
                f"{address(jwks_uri)} responded with {response.status}; expected 200 and a key set"
            )
        keys = parse_key_set(response.body)
        return Fetched(keys, lifetime(response), keys.size)
