"""Certificates for tests: an authority, certificates that it signs, and self-signed ones."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from portal.outbound.tls import ClientCertificate
from portal.secret import Secret
from tests.unit.outbound.wire import conversing

_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

    @property
    def chain(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def private_key(self, password: bytes | None = None) -> str:
        encryption: KeySerializationEncryption = NoEncryption()
        if password is not None:
            encryption = BestAvailableEncryption(password)
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()

    @property
    def of_client(self) -> ClientCertificate:
        return ClientCertificate(self.chain, Secret(self.private_key()))


def issue(
    name: str,
    by: Issued | None = None,
    *,
    authority: bool = False,
    days: float = 1,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
    key_identifiers: bool = True,
) -> Issued:
    """A certificate for a name, signed by `by` or self-signed, that expires in `days` days."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    signer, issuer = (by.key, by.certificate.subject) if by else (key, subject)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=100))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    )
    if key_identifiers:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = builder.add_extension(identifier, critical=False)
        identifier_of_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(identifier_of_key, critical=False)
    if authority:
        builder = builder.add_extension(_SIGNS_CERTIFICATES, critical=True)
    return Issued(builder.sign(signer, hashes.SHA256()), key)


@dataclass(slots=True)
class Presented:
    """A TLS server on loopback, with the names on its clients' certificates; None without a certificate."""

    port: int = 0
    names: list[str | None] = field(default_factory=list)

    def url(self, path: str = "/") -> str:
        return f"https://localhost:{self.port}{path}"


@asynccontextmanager
async def requesting_certificates(
    folder: Path, authority: Issued, *, trusted: str | None = None
) -> AsyncIterator[Presented]:
    """Serve with a certificate of the authority; request client certificates of `trusted` (PEM)."""
    server = issue("localhost", authority)
    pem = folder / f"server-{server.certificate.serial_number}.pem"
    pem.write_text(server.private_key() + server.chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.load_verify_locations(cadata=authority.chain if trusted is None else trusted)
    context.verify_mode = ssl.CERT_OPTIONAL
    presented = Presented()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = head.partition("content-length: ")[2].partition("\r\n")[0]
            await reader.readexactly(int(length or 0))
            presented.names.append(_name(writer.get_extra_info("peercert")))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            await writer.drain()

    async with conversing(converse, context) as presented.port:
        yield presented


def _name(certificate: object) -> str | None:
    if not isinstance(certificate, dict) or not certificate:
        return None
    return str(dict(pair for part in certificate["subject"] for pair in part)["commonName"])
