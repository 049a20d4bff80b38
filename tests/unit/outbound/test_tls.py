"""Certificates of servers are accepted and refused alike with every version of Python."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from portal.outbound.tls import Tls, tls_context
from portal.outbound.tls_contexts import system_tls_context
from tests.unit.outbound.certificates import Issued, issue


def shake_hands(context: ssl.SSLContext, server: Issued, folder: Path) -> None:
    """Do a TLS handshake with a server that has this certificate. Raises ssl.SSLCertVerificationError."""
    pem = folder / "server.pem"
    pem.write_text(server.private_key() + server.chain)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(pem)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname="localhost")
    other = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(2):
        for side in (client, other):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue


def context_trusting(authority: Issued) -> ssl.SSLContext:
    return tls_context(Tls(authority.chain), system_tls_context)


def test_a_certificate_without_key_identifiers_is_accepted(tmp_path: Path) -> None:
    authority = issue("authority", authority=True)
    server = issue("localhost", authority, key_identifiers=False)
    shake_hands(context_trusting(authority), server, tmp_path)
    strict = ssl.create_default_context(cadata=authority.chain)
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(strict, server, tmp_path)


def test_a_trusted_intermediate_authority_is_enough(tmp_path: Path) -> None:
    intermediate = issue("intermediate", issue("root", authority=True), authority=True)
    shake_hands(context_trusting(intermediate), issue("localhost", intermediate), tmp_path)


def test_a_certificate_of_another_authority_with_the_same_name_is_refused(tmp_path: Path) -> None:
    server = issue("localhost", issue("authority", authority=True))
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(context_trusting(issue("authority", authority=True)), server, tmp_path)


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    authority = issue("authority", authority=True)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(context_trusting(authority), issue("localhost", authority, days=-1), tmp_path)


@pytest.mark.parametrize("tls", [Tls(), Tls(issue("authority", authority=True).chain)])
def test_the_defaults_of_python_do_not_matter(tls: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    create = ssl.create_default_context

    def as_of_3_13(**options: str | None) -> ssl.SSLContext:
        context = create(**options)  # type: ignore[arg-type]
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        return context

    flags = tls_context(tls, system_tls_context).verify_flags
    monkeypatch.setattr(ssl, "create_default_context", as_of_3_13)
    assert tls_context(tls, system_tls_context).verify_flags == flags
