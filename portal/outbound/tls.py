"""TLS settings of a tenant for its providers and its API: a client certificate, certificate authorities.

Both are PEM text; contexts are made from it with Python's `ssl` only, so that the checks of
tenant files use them as well. Nothing is read from a file here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import ssl
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from portal.secret import Secret

PEM_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """The certificate that authenticates the portal to a provider (RFC 8705 2), with its chain."""

    chain: str = field(repr=False)
    """PEM, the portal's own certificate first."""
    private_key: Secret
    """PEM, not encrypted."""

    @property
    def thumbprint(self) -> str:
        """The `x5t#S256` of the certificate (RFC 8705 3.1)."""
        first = PEM_CERTIFICATE.search(self.chain)
        der = ssl.PEM_cert_to_DER_cert(first[0]) if first else b""
        return urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


class Tls(NamedTuple):
    """TLS settings for one provider or API; requests with equal settings may share connections.

    `authorities`, PEM, replaces the system's certificate authorities for this server only.
    """

    authorities: str | None = None
    certificate: ClientCertificate | None = None

    def __repr__(self) -> str:
        return f"Tls(certificate={self.certificate!r})"


DEFAULT_TLS = Tls()
"""The system's certificate authorities, and no client certificate."""

_LONGEST_KEY = 4_000
"""Limit in characters of PEM text; larger keys make every handshake slow without a benefit."""


class PemUnusable(ValueError):
    """A PEM text cannot be used; the message names the reason and quotes nothing of the text."""


class PrivateKeyUnusable(PemUnusable):
    """The private key of a certificate cannot be used."""


def tls_context(tls: Tls, system: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """A context that verifies servers and presents the client certificate, if there is one.

    Parameters: system, makes a context that trusts the system's certificate authorities.
    Raises: PemUnusable.
    """
    context = _context_with(tls.authorities) if tls.authorities is not None else system()
    if tls.certificate is not None:
        _load_certificate(context, tls.certificate)
    return for_http(context)


def for_http(context: ssl.SSLContext) -> ssl.SSLContext:
    """Set the options that every connection of the client uses.

    Renegotiation (TLS 1.2) is disabled: a server could use it at any time to make the event loop verify
    another chain. TLS 1.3 and HTTP/2 have none (RFC 8446 4.1.2, RFC 9113 9.2.1).

    Certificates are judged alike with every version of Python: from 3.13 on, its defaults refuse
    one without an Authority Key Identifier, which authorities of organisations often leave out, and accept a
    chain up to a trusted intermediate authority. A newer Python shall end no tenant's logins.
    """
    context.verify_flags = (context.verify_flags & ~ssl.VERIFY_X509_STRICT) | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def check_certificate(certificate: ClientCertificate) -> None:
    """Check that certificate and private key are readable and match.

    Raises: PemUnusable.
    """
    _load_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate)


def check_authorities(text: str) -> None:
    """Check that the text contains at least one certificate of a certificate authority.

    Raises: PemUnusable.
    """
    _context_with(text)


def _context_with(authorities: str) -> ssl.SSLContext:
    unreadable = PemUnusable("holds no certificate in PEM form that can be read")
    if not authorities.strip():
        raise unreadable  # Python would use the system's certificate authorities instead
    try:
        context = ssl.create_default_context(cadata=authorities)
    except (ssl.SSLError, ValueError):
        raise unreadable from None
    if not context.get_ca_certs():
        raise PemUnusable("holds no certificate of a certificate authority")
    return context


def _load_certificate(context: ssl.SSLContext, certificate: ClientCertificate) -> None:
    private_key = certificate.private_key.reveal()
    if "ENCRYPTED" in private_key:
        # OpenSSL would first derive a key from a password, in as many rounds as the file demands
        raise PrivateKeyUnusable("has a password; take it off: openssl pkey -in locked.key -out open.key")
    if len(PEM_CERTIFICATE.sub("", private_key)) > _LONGEST_KEY:
        raise PrivateKeyUnusable("is not usable: it is larger than an RSA key of 4096 bits")
    with _file(certificate.chain) as chain, _file(private_key) as key:
        try:
            context.load_cert_chain(chain, key, password=_no_password)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise PemUnusable("does not belong to the private key") from None
            raise PemUnusable(
                "is not usable: certificate and private key must be in PEM form, the key without a password"
            ) from None


def _no_password() -> str:
    """Called for an encrypted key; without it OpenSSL would prompt on the terminal."""
    return ""


@contextlib.contextmanager
def _file(text: str) -> Iterator[str]:
    """A file name from which OpenSSL can read the text; the file is in memory where that is supported."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "wb") as memory:
            memory.write(text.encode())
            memory.flush()
            yield f"/proc/self/fd/{descriptor}"
        return
    with tempfile.NamedTemporaryFile() as disk:  # mode 0600
        disk.write(text.encode())
        disk.flush()
        yield disk.name
