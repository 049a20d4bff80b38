"""Signs with the key of a certificate that is registered at the provider (RFC 7515 4.1.8, `x5t#S256`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jose import jws

from portal.oidc.jose.algorithms import signing_key
from portal.oidc.jose.key_material import RSA_BITS, KeyUnusable, PrivateKey
from portal.outbound.tls import PEM_CERTIFICATE, ClientCertificate

_LONGEST_EXPONENT = 32
"""Bits. Each signature is verified with the public exponent before it is used. With an exponent as long as
the key, that takes ten times as long: 30 ms for 4096 bits."""


def check_cost(certificate: ClientCertificate) -> None:
    """Check that signing with the certificate's key, in TLS and in assertions, does not block the event loop.

    Raises: KeyUnusable.
    """
    try:
        public = x509.load_pem_x509_certificate(certificate.chain.encode()).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return  # OpenSSL may support it nevertheless; the private key belongs to it
    if isinstance(public, rsa.RSAPublicKey):
        bits = public.public_numbers().e.bit_length()
        if bits > _LONGEST_EXPONENT:
            raise KeyUnusable(f"has a public exponent of {bits} bits; expected at most {_LONGEST_EXPONENT}")


def expires_at(certificate: ClientCertificate) -> float | None:
    """Return when the certificate expires: seconds since the epoch, UTC; None if it cannot be read."""
    try:
        found = x509.load_pem_x509_certificate(certificate.chain.encode())
    except (ValueError, UnsupportedAlgorithm):
        return None
    return found.not_valid_after_utc.timestamp()


def algorithms(certificate: ClientCertificate) -> tuple[str, ...]:
    """Return the algorithms that the certificate's key can sign with, the preferred one first.

    Raises: KeyUnusable for a key that is neither RSA with at least 2048 bits nor on P-256.
    """
    return ("PS256", "RS256") if isinstance(_private_key(certificate), rsa.RSAPrivateKey) else ("ES256",)


def sign(certificate: ClientCertificate, claims: Mapping[str, object], *, alg: str, typ: str) -> str:
    """Return a compact JWS of the claims that identifies the certificate by its thumbprint.

    Parameters: alg, one of `algorithms`; typ, the media type of its header.
    """
    key: Any = signing_key(_private_key(certificate), alg)  # python-jose's type stubs allow only text
    name = certificate.thumbprint
    return str(
        jws.sign(dict(claims), key, headers={"typ": typ, "kid": name, "x5t#S256": name}, algorithm=alg)
    )


def _private_key(certificate: ClientCertificate) -> PrivateKey:
    text = PEM_CERTIFICATE.sub("", certificate.private_key.reveal())
    try:
        # checking that p and q are primes takes 60 ms; the key's creator has done it
        key = load_pem_private_key(text.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnusable("cannot be read as a private key in PEM form") from error
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= RSA_BITS:
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise KeyUnusable(f"is neither an RSA key of at least {RSA_BITS} bits nor a key on P-256")
