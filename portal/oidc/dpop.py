"""Proof of possession (DPoP, RFC 9449): a key per login, a proof per request, server nonces."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from portal.bounded_cache import ByteBoundedCache
from portal.clock import Clock
from portal.oidc.abnf import NQCHAR, one_to

USE_DPOP_NONCE = "use_dpop_nonce"
"""Error code of a server that requires its nonce in the proof (RFC 9449 8 and 9)."""

_ALGORITHM = ec.ECDSA(SHA256())
_COORDINATE = 32
"""Bytes of a coordinate, and of each half of a signature, on P-256 (RFC 7518 3.4 and 6.2.1)."""
_NONCE = one_to(1024, NQCHAR)  # RFC 9449 8.1
_SCHEME = re.compile(r"(?:^|[,\s])dpop\s")
_ERROR = re.compile(r"(?:^|[,\s])error\s{0,4}=\s{0,4}\"?use_dpop_nonce(?![\w-])")
_LONGEST_CHALLENGE = 4_096
"""Characters. A longer header is ignored: a tenant's API is not trusted."""
_REMEMBERED_BYTES = 8_000_000

Headers = Iterable[tuple[str, str]]


class DpopKey:
    """The ES256 key of one login. Its repr reveals nothing."""

    __slots__ = ("_header", "_key", "thumbprint")

    thumbprint: str
    """SHA-256 thumbprint of the public key, base64url (RFC 7638): what tokens are bound to."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        point = key.public_key().public_numbers()
        public = {"crv": "P-256", "kty": "EC", "x": _coordinate(point.x), "y": _coordinate(point.y)}
        self.thumbprint = _b64(hashlib.sha256(_json(public)).digest())  # members in RFC 7638 order
        # RFC 9449 4.2: the header must not contain the private part
        self._header = _b64(_json({"typ": "dpop+jwt", "alg": "ES256", "jwk": public}))

    @classmethod
    def generate(cls) -> DpopKey:
        """Generate a new key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_jwk(cls, member: object) -> DpopKey:
        """Read a key that `private_jwk` returned.

        Raises: ValueError for anything else.
        """
        if not isinstance(member, Mapping) or (member.get("kty"), member.get("crv")) != ("EC", "P-256"):
            raise ValueError("not a key on P-256")
        point = ec.EllipticCurvePublicNumbers(_number(member, "x"), _number(member, "y"), ec.SECP256R1())
        return cls(ec.EllipticCurvePrivateNumbers(_number(member, "d"), point).private_key())

    def private_jwk(self) -> dict[str, str]:
        """Return the key with its private part as a JWK (RFC 7518 6.2.2). Store it sealed; never log it."""
        numbers = self._key.private_numbers()
        point = numbers.public_numbers
        return {
            "kty": "EC",
            "crv": "P-256",
            "x": _coordinate(point.x),
            "y": _coordinate(point.y),
            "d": _coordinate(numbers.private_value),
        }

    def proof(
        self, method: str, url: str, *, now: float, access_token: str | None = None, nonce: str | None = None
    ) -> str:
        """Return a proof for one request (RFC 9449 4.2).

        Parameters: now, seconds since the epoch, UTC; access_token, if the request carries one; nonce,
        the server's newest.
        """
        claims: dict[str, object] = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": target_uri(url),
            "iat": int(now),
        }
        if access_token is not None:
            claims["ath"] = _b64(hashlib.sha256(access_token.encode("ascii")).digest())
        if nonce is not None:
            claims["nonce"] = nonce
        signed = f"{self._header}.{_b64(_json(claims))}"
        r, s = decode_dss_signature(self._key.sign(signed.encode("ascii"), _ALGORITHM))
        return f"{signed}.{_b64(r.to_bytes(_COORDINATE) + s.to_bytes(_COORDINATE))}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DpopKey) and other.thumbprint == self.thumbprint

    def __hash__(self) -> int:
        return hash(self.thumbprint)

    def __repr__(self) -> str:
        return "DpopKey(…)"


def target_uri(url: str) -> str:
    """Return `htu` of a request: its URL without query and fragment (RFC 9449 4.2)."""
    plain = url.partition("#")[0].partition("?")[0]
    return plain if plain.count("/") > 2 else f"{plain}/"  # RFC 3986 6.2.3


def wants_nonce(status: int, headers: Headers) -> bool:
    """Whether an API rejected a request only because its proof lacks a current nonce (RFC 9449 9)."""
    return status == 401 and any(
        _is_nonce_challenge(value.lower()) for name, value in headers if name.lower() == "www-authenticate"
    )


def _is_nonce_challenge(value: str) -> bool:
    if len(value) > _LONGEST_CHALLENGE:
        return False
    scheme = _SCHEME.search(value)
    return scheme is not None and _ERROR.search(value, scheme.end() - 1) is not None


class NonceMemory:
    """The newest nonce per login and server, in memory only, with a bounded total size.

    A login without a nonce of a server uses the newest one that this server sent to any login of the same
    registration (`holder`): servers seldom bind nonces to a key (RFC 9449 8).
    """

    def __init__(self, *, max_bytes: int = _REMEMBERED_BYTES) -> None:
        self._nonces: ByteBoundedCache[tuple[str, str], str] = ByteBoundedCache(max_bytes)

    def latest(self, key: DpopKey, url: str, *, holder: str) -> str | None:
        """Return the nonce to send to the server of this URL; None when it has not sent one."""
        origin = _origin(url)
        return self._nonces.get((key.thumbprint, origin)) or self._nonces.get((holder, origin))

    def remember(self, key: DpopKey, url: str, nonce: str, *, holder: str) -> None:
        """Store the nonce that the server of this URL sent."""
        origin = _origin(url)
        for owner in (key.thumbprint, holder):
            self._nonces.put((owner, origin), nonce, size=len(origin) + len(nonce), owner=holder)


@dataclass(frozen=True, slots=True)
class DpopProver:
    """Makes the proofs of one login: its key with the nonces of servers.

    `holder` is the registration, as in NonceMemory; `clock` gives seconds since the epoch, UTC.
    """

    key: DpopKey
    nonces: NonceMemory
    holder: str
    clock: Clock

    def proof(self, method: str, url: str, *, access_token: str | None = None) -> str:
        """Return a proof for a request that is sent now, with the server's newest nonce."""
        nonce = self.nonces.latest(self.key, url, holder=self.holder)
        return self.key.proof(method, url, now=self.clock(), access_token=access_token, nonce=nonce)

    def store_nonce(self, url: str, headers: Headers) -> bool:
        """Store the nonce of a response (RFC 9449 8.2). Return whether it had one."""
        given = [value for name, value in headers if name.lower() == "dpop-nonce"]
        if len(given) != 1 or not _NONCE.fullmatch(given[0]):  # RFC 9449 8.1: exactly one, 1*NQCHAR
            return False
        self.nonces.remember(self.key, url, given[0], holder=self.holder)
        return True


def _origin(url: str) -> str:
    return "/".join(url.split("/")[:3])


def _coordinate(value: int) -> str:
    return _b64(value.to_bytes(_COORDINATE))


def _number(member: Mapping[str, object], name: str) -> int:
    value = member.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a string")  # noqa: TRY004 - one error class for all mistakes
    return int.from_bytes(base64.urlsafe_b64decode(value + "=="))


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
