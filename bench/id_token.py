"""ID token validations per second on one core with a cached key, by algorithm; and key rotation.

    python -m bench.id_token [--seconds 1.0]

The baseline of each algorithm is the bare signature check of `cryptography` over the same bytes. Times are
CPU times of this process, independent of other load. Then 50 sign-ins run in parallel while the provider
repeatedly changes its key: none may fail.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import sys
import time
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from portal.errors import PortalError
from portal.oidc import id_token
from portal.oidc.dpop import DpopKey
from portal.secret import Secret
from tests.unit.oidc.party import Party, acme
from tests.unit.oidc.signing import (
    ACCESS_TOKEN,
    CLIENT_SECRET,
    CODE,
    NONCE,
    NOW,
    key_set,
    login_claims,
    private_key,
    public_jwk,
    registration,
    signed,
)
from tests.unit.outbound.wire import until

REQUIRED = 5_000
"""RS256 validations per second."""
_KINDS = {"RS256": "RSA", "PS256": "RSA", "ES256": "P-256", "EdDSA": "Ed25519", "HS256": ""}
_LOGINS_AT_ONCE = 50
_ROTATIONS = 20


def per_second(action: Callable[[], object], seconds: float) -> float:
    """Return how often an action runs per second of CPU time."""
    for _ in range(20):
        action()
    done, begun = 0, time.process_time()
    while (took := time.process_time() - begun) < seconds:
        for _ in range(20):
            action()
        done += 20
    return done / took


def validation(alg: str, token: Secret) -> Callable[[], object]:
    """Return the ID token validation of a login, with all checks."""
    provider = registration(id_token_algs=(alg,))
    kind = _KINDS[alg]
    keys = key_set(public_jwk(kind)) if kind else key_set()
    expected = id_token.LoginExpectations(nonce=NONCE, code=CODE, access_token=ACCESS_TOKEN)
    return lambda: id_token.validate_at_login(token, provider, keys, expected, now=NOW)


def bare(alg: str, token: Secret) -> Callable[[], object]:
    """Return the bare signature check of `cryptography`."""
    text, _, last = token.reveal().rpartition(".")
    message, signature = text.encode(), base64.urlsafe_b64decode(last + "==")
    sha = hashes.SHA256()
    if alg == "HS256":

        def check() -> None:
            mac = hmac.HMAC(CLIENT_SECRET.encode(), sha)
            mac.update(message)
            mac.verify(signature)

        return check
    key = private_key(_KINDS[alg], 0).public_key()
    if alg == "RS256":
        return lambda: key.verify(signature, message, padding.PKCS1v15(), sha)
    if alg == "PS256":
        pss = padding.PSS(padding.MGF1(sha), sha.digest_size)
        return lambda: key.verify(signature, message, pss, sha)
    if alg == "ES256":
        half = len(signature) // 2
        der = encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
        return lambda: key.verify(der, message, ec.ECDSA(sha))
    return lambda: key.verify(signature, message)


def measure_validations(seconds: float) -> bool:
    met = True
    for alg, kind in _KINDS.items():
        secret = None if kind else CLIENT_SECRET.encode()
        kid = "key-1" if kind else None
        token = signed(login_claims(), alg=alg, kind=kind or "RSA", kid=kid, secret=secret)
        rate = per_second(validation(alg, token), seconds)
        baseline = per_second(bare(alg, token), seconds)
        print(
            f"{alg:6} {rate:8,.0f} validations per second on one core; "
            f"bare signature check {baseline:8,.0f}, {rate / baseline:.0%} of it"
        )
        met = met and (alg != "RS256" or rate >= REQUIRED)
    key, token_text = DpopKey.generate(), "t" * 900
    rate = per_second(
        lambda: key.proof("GET", "https://api.acme.example/v1/orders", now=NOW, access_token=token_text),
        seconds,
    )
    print(f"DPoP   {rate:8,.0f} proofs per second on one core, {1e6 / rate:.0f} µs each")
    return met


def rotate(party: Party, number: int) -> None:
    """Replace the signing key; the previous one is no longer published."""
    party.time.advance(31)
    party.signing = {"alg": "ES256", "kind": "P-256", "which": number, "kid": f"key-{number}"}
    party.keys = [public_jwk("P-256", kid=f"key-{number}", which=number)]
    now = int(party.time())
    party.claims = {"iat": now, "exp": now + 300}


async def measure_rotation() -> bool:
    """Return whether all logins succeeded while the provider changed its key."""
    done = failed = 0
    async with acme() as party:
        rotate(party, 0)

        async def keep_signing_in() -> None:
            nonlocal done, failed
            while party.signing["which"] < _ROTATIONS:
                try:
                    await party.finish(id_token_algs=("ES256",))
                except PortalError as error:
                    print(f"a login failed: {error.code}: {error.detail}", file=sys.stderr)
                    failed += 1
                done += 1

        async def keep_rotating() -> None:
            for number in range(1, _ROTATIONS + 1):
                enough = done + 2 * _LOGINS_AT_ONCE
                await until(lambda enough=enough: done >= enough, 60)  # type: ignore[misc]
                rotate(party, number)

        await asyncio.gather(*(keep_signing_in() for _ in range(_LOGINS_AT_ONCE)), keep_rotating())
        fetches = party.calls("/jwks_uri")
    print(
        f"{_ROTATIONS} key changes during {_LOGINS_AT_ONCE} parallel sign-ins: "
        f"{done} sign-ins, {failed} failed, {fetches} fetches of the keys"
    )
    return failed == 0


def main() -> int:
    parser = argparse.ArgumentParser(description="ID token validations per second, and key rotation.")
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU time of each measurement, in seconds")
    given = parser.parse_args()
    met = measure_validations(given.seconds)
    return 0 if asyncio.run(measure_rotation()) and met else 1


if __name__ == "__main__":
    sys.exit(main())
