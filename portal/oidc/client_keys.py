"""The portal's client keys: they sign what it sends to providers and decrypt what providers encrypt for it.

Without I/O. The keys come from the key ring; the relying party gets an object that follows its changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from jose import jws
from jose.backends.base import Key

from portal.bounded_cache import ByteBoundedCache
from portal.clock import Clock
from portal.oidc.errors import ClientKeyMissing
from portal.oidc.jose.algorithms import signing_key
from portal.oidc.jose.key_material import PrivateKey, derived_key, private_key, public_members

SIGNING_ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
"""Each has its own key (RFC 8725 3.1: a key is used with one algorithm)."""
ENCRYPTION_KEYS = ("RSA", "EC")
"""Key types that providers may encrypt for: RSA-OAEP and RSA-OAEP-256; ECDH-ES with and without key wrap."""
_ENCRYPTION_ALGORITHMS: Mapping[str, Sequence[str]] = {
    "RSA": ("RSA-OAEP", "RSA-OAEP-256"),
    "EC": ("ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A256KW"),
}
"""The key is published once per algorithm: some providers look for a key with the `alg` they use."""
PUBLISHED_FIRST = 600.0
"""Seconds for which a new signing key is published before its first use, when there is an older key."""

_MAX_DERIVED_BYTES = 16_000_000
_DERIVED_BYTES = 3_000
"""Approximate memory of one key in OpenSSL and Python."""

Use = Literal["sig", "enc"]


class ClientKeys(Protocol):
    """The client keys as the relying party uses them."""

    def sign(
        self, claims: Mapping[str, object], *, alg: str, typ: str = "JWT", registration: str | None = None
    ) -> str:
        """Return a compact JWS of the claims, with `kid` in its header.

        Parameters: alg, one of SIGNING_ALGORITHMS; typ, the media type in its header (RFC 8725 3.11);
        registration, the `key` of a Provider that has its own signing key (alg is then one of
        REGISTRATION_ALGORITHMS); None for the key that all registrations share.
        Raises: ClientKeyMissing.
        """
        ...

    def public_jwks(self) -> Mapping[str, object]:
        """Return the JWK Set for providers: public parts only (RFC 7517 5)."""
        ...

    def public_registration_keys(self, registration: str, alg: str) -> Sequence[Mapping[str, object]]:
        """Return the public JWKs of one registration's signing keys for an algorithm, newest first."""
        ...

    def public_encryption_keys(self) -> Sequence[Mapping[str, object]]:
        """Return the public JWKs that providers encrypt for; all registrations share them."""
        ...

    def decryption_keys(self, kty: str, kid: str | None) -> Sequence[PrivateKey]:
        """Return the keys that may decrypt a token for the portal, newest first.

        Parameters: kty, `RSA` or `EC`; kid, None when the header has none.
        """
        ...


@dataclass(frozen=True, slots=True, repr=False)
class ClientKey:
    """One private key. `kid` is its thumbprint (RFC 7638); `created_at` in seconds since the epoch, UTC."""

    kid: str
    use: Use
    kind: str
    """The algorithm of a signing key; `RSA` or `EC` for an encryption key."""
    created_at: float
    private: PrivateKey
    public: Mapping[str, object]
    """The public JWK to publish."""

    def __repr__(self) -> str:
        return f"ClientKey(kid={self.kid!r}, use={self.use!r}, kind={self.kind!r})"


def client_key(member: Mapping[str, object], *, use: Use, kind: str, created_at: float) -> ClientKey:
    """Make a client key from a private JWK.

    Raises: KeyUnusable.
    """
    return _client_key(private_key(member), use=use, kind=kind, created_at=created_at)


def _client_key(private: PrivateKey, *, use: Use, kind: str, created_at: float) -> ClientKey:
    public = public_members(private)
    kid = public.pop("kid")
    published: dict[str, object] = {"kid": kid, "use": use, **public}
    if use == "sig":
        published["alg"] = kind
    return ClientKey(str(kid), use, kind, created_at, private, published)


def registration_key(parent: ClientKey, registration: str) -> ClientKey:
    """Derive the signing key of one registration from the shared key of its algorithm.

    Every process with the same key ring thus has the same key without storing it, and it is rotated and
    removed together with the shared key.
    Parameters: registration, the `key` of a Provider.
    Raises: KeyUnusable for an algorithm that is not one of REGISTRATION_ALGORITHMS.
    """
    private = derived_key(parent.private, f"tenant-portal client key\0{registration}\0{parent.kind}")
    return _client_key(private, use="sig", kind=parent.kind, created_at=parent.created_at)


class ClientKeySet:
    """An immutable set of client keys; implements `ClientKeys`.

    Parameters: keys; clock, seconds since the epoch, UTC.
    """

    def __init__(self, keys: Sequence[ClientKey], *, clock: Clock) -> None:
        self.keys = tuple(sorted(keys, key=lambda key: key.created_at))
        self._clock = clock
        self._signing_keys: dict[str, Key] = {}
        self._derived: ByteBoundedCache[tuple[str, str], ClientKey] = ByteBoundedCache(_MAX_DERIVED_BYTES)
        """By the `kid` of the shared key and the registration."""

    def sign(
        self, claims: Mapping[str, object], *, alg: str, typ: str = "JWT", registration: str | None = None
    ) -> str:
        """See ClientKeys."""
        chosen = self.signing(alg)
        if registration is not None:
            derived = self._derived_key(chosen, registration)
            return _signed(claims, signing_key(derived.private, alg), derived.kid, alg=alg, typ=typ)
        if chosen.kid not in self._signing_keys:
            self._signing_keys[chosen.kid] = signing_key(chosen.private, alg)
        return _signed(claims, self._signing_keys[chosen.kid], chosen.kid, alg=alg, typ=typ)

    def signing(self, alg: str) -> ClientKey:
        """Return the key that signs with `alg` now: the newest that has been published for long enough.

        Raises: ClientKeyMissing.
        """
        fitting = [key for key in self.keys if key.use == "sig" and key.kind == alg]
        if not fitting:
            raise ClientKeyMissing(f"the key ring has no key that signs with {alg}")
        ready = [key for key in fitting if key.created_at + PUBLISHED_FIRST <= self._clock()]
        return ready[-1] if ready else fitting[0]

    def public_jwks(self) -> Mapping[str, object]:
        """See ClientKeys. Only the newest encryption key of each kind; older ones are only for decryption."""
        signing = [member for key in reversed(self.keys) if key.use == "sig" for member in _members(key)]
        return {"keys": [*self.public_encryption_keys(), *signing]}

    def public_registration_keys(self, registration: str, alg: str) -> Sequence[Mapping[str, object]]:
        """See ClientKeys."""
        parents = [key for key in reversed(self.keys) if key.use == "sig" and key.kind == alg]
        return [self._derived_key(parent, registration).public for parent in parents]

    def _derived_key(self, parent: ClientKey, registration: str) -> ClientKey:
        """As registration_key, cached: it costs 0.05 ms of CPU, and anybody may request each public key."""
        found = self._derived.get((parent.kid, registration))
        if found is None:
            found = registration_key(parent, registration)
            owner = registration.partition("/")[0]
            self._derived.put((parent.kid, registration), found, size=_DERIVED_BYTES, owner=owner)
        return found

    def public_encryption_keys(self) -> Sequence[Mapping[str, object]]:
        """See ClientKeys."""
        newest = {key.kind: key for key in self.keys if key.use == "enc"}
        return [member for key in newest.values() for member in _members(key)]

    def decryption_keys(self, kty: str, kid: str | None) -> Sequence[PrivateKey]:
        """See ClientKeys."""
        fitting = [key for key in reversed(self.keys) if key.use == "enc" and key.kind == kty]
        return [key.private for key in fitting if kid is None or kid == key.kid or kid in _published_as(key)]


def _signed(claims: Mapping[str, object], key: Any, kid: str, *, alg: str, typ: str) -> str:
    # key is Any: python-jose's type stubs allow only text
    return str(jws.sign(dict(claims), key, headers={"typ": typ, "kid": kid}, algorithm=alg))


def _members(key: ClientKey) -> list[dict[str, object]]:
    """Return one JWK for a signing key; for an encryption key, one per algorithm, with it in `kid`."""
    if key.use == "sig":
        return [dict(key.public)]
    return [{**key.public, "kid": kid, "alg": alg} for kid, alg in _published_as(key).items()]


def _published_as(key: ClientKey) -> dict[str, str]:
    """Return the `kid`s of an encryption key with the algorithm of each."""
    return {f"{key.kid}.{alg}": alg for alg in _ENCRYPTION_ALGORITHMS[key.kind]}
