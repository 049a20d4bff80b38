"""Signing with the key of a certificate that the provider was given before (RFC 7515 4.1.8, `x5t#S256`)."""

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
"""Bits. A signature is checked with the public exponent before it is given out: with one as long as the key,
it takes ten times as long, 30 ms for 4096 bits."""


def check_cost(certificate: ClientCertificate) -> None:
    """Check that signing with the certificate's key does not hold the event loop, in TLS as in assertions.

    Raises: KeyUnusable.
    """
    try:
        public = x509.load_pem_x509_certificate(certificate.chain.encode()).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return  # TLS may know it all the same; the private key belongs to it
    if isinstance(public, rsa.RSAPublicKey):
        bits = public.public_numbers().e.bit_length()
        if bits > _LONGEST_EXPONENT:
            raise KeyUnusable(f"has a public exponent of {bits} bits; expected at most {_LONGEST_EXPONENT}")


def algorithms(certificate: ClientCertificate) -> tuple[str, ...]:
    """The algorithms that the certificate's key can sign with, the one to choose first.

    Raises: KeyUnusable for a key that is neither RSA with at least 2048 bits nor on P-256.
    """
    return ("PS256", "RS256") if isinstance(_private_key(certificate), rsa.RSAPrivateKey) else ("ES256",)


def sign(certificate: ClientCertificate, claims: Mapping[str, object], *, alg: str, typ: str) -> str:
    """A compact JWS of the claims that names the certificate by its thumbprint.

    Parameters: alg, one of `algorithms`; typ, the media type of its header.
    """
    key: Any = signing_key(_private_key(certificate), alg)  # python-jose's stubs know keys as text only
    name = certificate.thumbprint
    return str(
        jws.sign(dict(claims), key, headers={"typ": typ, "kid": name, "x5t#S256": name}, algorithm=alg)
    )


def _private_key(certificate: ClientCertificate) -> PrivateKey:
    text = PEM_CERTIFICATE.sub("", certificate.private_key.reveal())
    try:
        # whether an RSA key is made of primes was for who made it to check, and takes 60 ms
        key = load_pem_private_key(text.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnusable("cannot be read as a private key in PEM form") from error
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= RSA_BITS:
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise KeyUnusable(f"is neither an RSA key of at least {RSA_BITS} bits nor a key on P-256")
