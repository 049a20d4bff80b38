"""Access tokens that are bound to a certificate (RFC 8705 3)."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode

import pytest
from cryptography.hazmat.primitives import hashes

from portal.oidc.bound_token import fits
from portal.outbound.tls import ClientCertificate
from portal.secret import Secret
from tests.unit.outbound.certificates import Issued, issue

AUTHORITY = issue("authority", authority=True)
OWN = issue("own", AUTHORITY)
OTHER = issue("other", AUTHORITY)


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def thumbprint(issued: Issued) -> str:
    return b64(issued.certificate.fingerprint(hashes.SHA256()))


def token(claims: object) -> Secret:
    """An access token that is a JWT; only an API verifies its signature."""
    return Secret(f"{b64(b'{}')}.{b64(json.dumps(claims).encode())}.{b64(b'signature')}")


def test_the_thumbprint_is_that_of_the_certificate_and_not_of_its_issuer() -> None:
    assert OWN.of_client.thumbprint == thumbprint(OWN)
    chain = ClientCertificate(OWN.chain + AUTHORITY.chain, Secret(OWN.private_key()))
    assert chain.thumbprint == thumbprint(OWN)
    both = ClientCertificate(OWN.private_key() + OWN.chain, Secret(OWN.private_key()))
    assert both.thumbprint == thumbprint(OWN)


@pytest.mark.parametrize(
    ("access_token", "with_own", "without"),
    [
        (token({"cnf": {"x5t#S256": thumbprint(OWN)}}), True, False),
        (token({"cnf": {"x5t#S256": thumbprint(OTHER)}}), False, False),
        (token({"cnf": {"x5t#S256": ""}}), False, False),
        (token({"cnf": {"x5t#S256": 7}}), True, True),
        (token({"cnf": {"jkt": "x"}}), True, True),
        (token({"cnf": thumbprint(OTHER)}), True, True),
        (token({}), True, True),
        (token([]), True, True),
        (Secret("opaque"), True, True),
        (Secret("a.b.c.d.e"), True, True),
    ],
)
def test_a_token_can_be_used_only_with_the_certificate_in_its_cnf(
    access_token: Secret, with_own: bool, without: bool
) -> None:
    assert fits(access_token, OWN.of_client) is with_own
    assert fits(access_token, None) is without
