"""Client certificates and certificate authorities of one provider (RFC 8705)."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from portal.errors import OutboundFailed, OutboundRefused
from portal.oidc.client_authentication import credentials
from portal.oidc.discovery import MetadataSource, read_metadata
from portal.oidc.errors import KeysRejected, MetadataRejected
from portal.oidc.keys import KeySource
from portal.oidc.provider import ClientAuth, Endpoints
from portal.oidc.token_endpoint import send_form
from portal.outbound.client import OutboundClient
from portal.outbound.tls import ClientCertificate, PemUnusable, Tls, check_authorities, check_certificate
from portal.secret import Secret
from tests.kit.samples import ManualClock
from tests.unit.oidc.signing import registration
from tests.unit.outbound.certificates import issue, requesting_certificates
from tests.unit.outbound.wire import calling

AUTHORITY = issue("Private Authority", authority=True)
ACME = issue("acme", AUTHORITY)
GLOBEX = issue("globex", AUTHORITY)
CERTIFIED = {"client_auth": ClientAuth.TLS_CLIENT_AUTH, "client_secret": None}


def trusting(**more: Any) -> Tls:
    return Tls(AUTHORITY.chain, **more)


@pytest.mark.gen_test
async def test_a_certificate_of_one_tenant_is_never_presented_to_the_provider_of_another(
    tmp_path: Path,
) -> None:
    async with requesting_certificates(tmp_path, AUTHORITY) as server, calling() as client:
        for certificate in (ACME, None, GLOBEX, ACME, None):
            client_certificate = certificate.of_client if certificate else None
            provider = registration(
                client_auth=ClientAuth.TLS_CLIENT_AUTH if client_certificate else ClientAuth.NONE,
                client_certificate=client_certificate,
                tls_authorities=AUTHORITY.chain,
            )
            url = server.url("/token")
            await send_form(client, provider, url, [("grant_type", "x")], token_endpoint=url, secrets=())
    assert server.names == ["acme", None, "globex", "acme", None]


@pytest.mark.gen_test
@pytest.mark.parametrize("method", [ClientAuth.TLS_CLIENT_AUTH, ClientAuth.SELF_SIGNED_TLS_CLIENT_AUTH])
async def test_a_certificate_is_presented_with_the_client_id(tmp_path: Path, method: ClientAuth) -> None:
    own = issue("acme") if method is ClientAuth.SELF_SIGNED_TLS_CLIENT_AUTH else ACME
    known = AUTHORITY.chain + own.chain
    provider = registration(
        client_auth=method,
        client_secret=None,
        client_certificate=own.of_client,
        tls_authorities=AUTHORITY.chain,
    )
    proof = credentials(provider)
    assert (proof.headers, dict(proof.fields)) == ((), {"client_id": provider.client_id})
    async with requesting_certificates(tmp_path, AUTHORITY, trusted=known) as server, calling() as client:
        url = server.url("/token")
        await send_form(client, provider, url, [], token_endpoint=url, secrets=())
    assert server.names == ["acme"]


@pytest.mark.gen_test
@pytest.mark.parametrize("method", [ClientAuth.CLIENT_SECRET_BASIC, ClientAuth.NONE])
async def test_a_certificate_that_tokens_are_bound_to_is_presented_with_every_client_authentication(
    tmp_path: Path, method: ClientAuth
) -> None:
    provider = registration(
        client_auth=method, client_certificate=ACME.of_client, tls_authorities=AUTHORITY.chain
    )
    async with requesting_certificates(tmp_path, AUTHORITY) as server, calling() as client:
        url = server.url("/token")
        await send_form(client, provider, url, [], token_endpoint=url, secrets=())
    assert server.names == ["acme"]


@pytest.mark.gen_test
async def test_no_certificate_is_presented_to_fetch_metadata_and_keys(tmp_path: Path) -> None:
    """The server's certificate is from the provider's private authority; its response is no document."""
    async with requesting_certificates(tmp_path, AUTHORITY) as server, calling() as client:
        provider = registration(
            **CERTIFIED,
            issuer=server.url(""),
            client_certificate=ACME.of_client,
            tls_authorities=AUTHORITY.chain,
        )
        with pytest.raises(KeysRejected, match="keys of the key set is missing"):
            await KeySource(client, clock=ManualClock()).get(provider, server.url("/jwks"))
        with pytest.raises(MetadataRejected, match="issuer of the metadata is missing"):
            await MetadataSource(client, clock=ManualClock()).get(provider)
    assert server.names == [None, None]


@pytest.mark.gen_test
async def test_a_private_authority_is_trusted_for_its_own_provider_only(tmp_path: Path) -> None:
    async with requesting_certificates(tmp_path, AUTHORITY) as server, calling() as client:
        assert (await client.fetch("GET", server.url(), tls=trusting())).status == 200
        for tls in (Tls(), Tls(issue("Another Authority", authority=True).chain)):
            with pytest.raises(OutboundFailed, match="certificate"):
                await client.fetch("GET", server.url(), tls=tls)
    assert len(server.names) == 1


@pytest.mark.gen_test
async def test_a_certificate_does_not_allow_private_networks(tmp_path: Path) -> None:
    async with requesting_certificates(tmp_path, AUTHORITY) as server:
        async with calling(OutboundClient()) as client:
            for url in (server.url(), f"https://127.0.0.1:{server.port}/"):
                with pytest.raises(OutboundRefused, match="loopback"):
                    await client.fetch("GET", url, tls=trusting(certificate=ACME.of_client))

        async def lookup(host: str) -> list[str]:
            return ["127.0.0.1"]

        async with calling(OutboundClient(lookup=lookup)) as client:
            url = f"https://login.acme.example:{server.port}/"
            with pytest.raises(OutboundRefused, match="loopback"):
                await client.fetch("GET", url, tls=trusting(certificate=ACME.of_client))
    assert server.names == []


@pytest.mark.gen_test
async def test_the_certificate_must_be_valid_for_the_host(tmp_path: Path) -> None:
    async with requesting_certificates(tmp_path, AUTHORITY) as server, calling() as client:
        with pytest.raises(OutboundFailed, match="certificate"):
            await client.fetch("GET", f"https://127.0.0.1:{server.port}/", tls=trusting())
    assert server.names == []


@pytest.mark.gen_test
async def test_a_certificate_that_cannot_be_used_is_refused_before_a_byte_is_sent() -> None:
    certificate = ClientCertificate(ACME.chain, Secret(GLOBEX.private_key()))
    async with calling() as client:
        with pytest.raises(OutboundRefused, match="does not belong to the private key"):
            await client.fetch("GET", "https://localhost:1/", tls=Tls(certificate=certificate))


@pytest.mark.parametrize(
    ("chain", "private_key", "message"),
    [
        (ACME.chain, GLOBEX.private_key(), "does not belong to the private key"),
        (ACME.chain, ACME.private_key(b"password"), "has a password"),
        (ACME.chain, "", "PEM form"),
        ("", ACME.private_key(), "PEM form"),
        (ACME.chain.replace("M", "m"), ACME.private_key(), "PEM form"),
        (ACME.private_key(), ACME.private_key(), "PEM form"),
    ],
)
def test_an_unusable_pair_is_described_and_not_quoted(chain: str, private_key: str, message: str) -> None:
    with pytest.raises(PemUnusable, match=message) as problem:
        check_certificate(ClientCertificate(chain, Secret(private_key)))
    assert private_key[30:60] not in str(problem.value) or not private_key


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_key_with_a_password_is_refused_before_openssl_sees_it(
    form: PrivateFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL would first derive a key from the password, in as many rounds as the file demands."""
    key = ACME.key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"password")).decode()
    assert ("Proc-Type: 4,ENCRYPTED" in key) is (form is PrivateFormat.TraditionalOpenSSL)
    keep_from_openssl(monkeypatch)
    with pytest.raises(PemUnusable, match="has a password"):
        check_certificate(ClientCertificate(ACME.chain, Secret(key)))


def test_a_key_that_is_too_large_is_refused_before_openssl_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """An RSA key of 8192 bits has 6,300 characters; each handshake with it would delay every tenant."""
    key = ACME.private_key()
    check_certificate(ClientCertificate(ACME.chain, Secret(key.ljust(4_000, "\n"))))
    keep_from_openssl(monkeypatch)
    with pytest.raises(PemUnusable, match="larger than an RSA key of 4096 bits"):
        check_certificate(ClientCertificate(ACME.chain, Secret(key.ljust(4_001, "\n"))))


def test_an_rsa_key_of_4096_bits_is_accepted() -> None:
    key = rsa.generate_private_key(65537, 4096)
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        text = key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()
        with pytest.raises(PemUnusable, match=r"does not belong to the private key|PEM form"):
            check_certificate(ClientCertificate(ACME.chain, Secret(text)))


def keep_from_openssl(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, the test fails when OpenSSL gets a key."""

    def load_cert_chain(*_: object, **__: object) -> None:
        pytest.fail("OpenSSL was given the key")

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", load_cert_chain)


@pytest.mark.parametrize("text", ["", "x", ACME.private_key(), ACME.chain.replace("M", "m")])
def test_unreadable_authorities_are_described(text: str) -> None:
    with pytest.raises(PemUnusable, match="holds no certificate"):
        check_authorities(text)


def test_a_server_certificate_is_no_authority() -> None:
    with pytest.raises(PemUnusable, match="of a certificate authority"):
        check_authorities(ACME.chain)
    check_authorities(ACME.chain + AUTHORITY.chain)


def test_no_repr_contains_a_certificate_or_its_key() -> None:
    provider = registration(**CERTIFIED, client_certificate=ACME.of_client, tls_authorities=AUTHORITY.chain)
    tls = Tls(AUTHORITY.chain, ACME.of_client)
    assert "BEGIN" not in f"{provider!r} {tls!r} {ACME.of_client!r} {credentials(provider)!r}"


# --- endpoints for clients with certificates

DOCUMENT = {
    "authorization_endpoint": "https://a.example/authorize",
    "token_endpoint": "https://a.example/token",
    "revocation_endpoint": "https://a.example/revoke",
    "jwks_uri": "https://a.example/jwks",
    "mtls_endpoint_aliases": {
        "token_endpoint": "https://mtls.a.example/token",
        "authorization_endpoint": "https://mtls.a.example/authorize",
        "jwks_uri": "https://mtls.a.example/jwks",
    },
}


def refuse_private(url: str) -> None:
    if "private" in url:
        raise OutboundRefused("private: not an address the portal connects to")


HOLDER = registration(client_certificate=ACME.of_client)
"""A client with a certificate; its client authentication does not matter (RFC 8705 5)."""


def test_a_client_with_a_certificate_uses_the_mtls_aliases() -> None:
    found = read_metadata(DOCUMENT, HOLDER, refuse_private)
    assert found.token_endpoint == "https://mtls.a.example/token"
    assert found.revocation_endpoint == "https://a.example/revoke"
    assert found.authorization_endpoint == "https://a.example/authorize"
    assert found.jwks_uri == "https://a.example/jwks"


@pytest.mark.parametrize(
    "method", sorted(set(ClientAuth) - {"tls_client_auth", "self_signed_tls_client_auth"})
)
def test_a_client_without_a_certificate_does_not_use_the_aliases(method: ClientAuth) -> None:
    found = read_metadata(DOCUMENT, registration(client_auth=method), refuse_private)
    assert found.token_endpoint == "https://a.example/token"


def test_an_endpoint_of_the_tenant_file_wins_over_an_alias() -> None:
    provider = replace(HOLDER, endpoints=Endpoints(token="https://b.example/token"))
    assert read_metadata(DOCUMENT, provider, refuse_private).token_endpoint == "https://b.example/token"


@pytest.mark.parametrize(
    "aliases", ["x", [], 7, {"token_endpoint": 7}, {"token_endpoint": "https://private/"}]
)
def test_aliases_that_break_a_rule_are_refused(aliases: object) -> None:
    document = DOCUMENT | {"mtls_endpoint_aliases": aliases}
    with pytest.raises(MetadataRejected, match=r"mtls_endpoint_aliases is a (text|list|num)|token_endpoint"):
        read_metadata(document, HOLDER, refuse_private)
    assert (
        read_metadata(document, registration(), refuse_private).token_endpoint == DOCUMENT["token_endpoint"]
    )
