"""From PEM texts to a TLS context, with Python's own `ssl` alone: tenant files are checked with it, too."""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections.abc import Callable, Iterator

from portal.outbound.tls import PEM_CERTIFICATE, ClientCertificate, Tls

_LONGEST_KEY = 4_000
"""Characters of a PEM text; larger keys take longer at each handshake than they are worth."""


class PemUnusable(ValueError):
    """A PEM text is not what it should be; the message says what, and shows nothing of it."""


class PrivateKeyUnusable(PemUnusable):
    """The same, of a certificate's private key."""


def tls_context(tls: Tls, system: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """A context that verifies servers, and presents the client certificate if there is one.

    Parameters: system, makes a context that trusts the system's authorities.
    Raises: PemUnusable.
    """
    context = _trusting(tls.authorities) if tls.authorities is not None else system()
    if tls.certificate is not None:
        _present(context, tls.certificate)
    return for_http(context)


def for_http(context: ssl.SSLContext) -> ssl.SSLContext:
    """Set what holds for every connection of the client.

    Renegotiation (TLS 1.2) is declined: with it a server could have another chain verified on the event loop
    at any time. TLS 1.3 and HTTP/2 know none (RFC 8446 4.1.2, RFC 9113 9.2.1).
    """
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def check_certificate(certificate: ClientCertificate) -> None:
    """Check that certificate and private key can be read and belong together.

    Raises: PemUnusable.
    """
    _present(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate)


def check_authorities(text: str) -> None:
    """Check that there is at least one certificate of an authority in the text.

    Raises: PemUnusable.
    """
    _trusting(text)


def _trusting(authorities: str) -> ssl.SSLContext:
    unreadable = PemUnusable("holds no certificate in PEM form that can be read")
    if not authorities.strip():
        raise unreadable  # Python would take the system's authorities instead
    try:
        context = ssl.create_default_context(cadata=authorities)
    except (ssl.SSLError, ValueError):
        raise unreadable from None
    if not context.get_ca_certs():
        raise PemUnusable("holds no certificate of a certificate authority")
    return context


def _present(context: ssl.SSLContext, certificate: ClientCertificate) -> None:
    private_key = certificate.private_key.reveal()
    if "ENCRYPTED" in private_key:
        # OpenSSL would derive a key from a password first, in as many rounds as the file likes
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
    """Asked for an encrypted key, in place of a question on the terminal."""
    return ""


@contextlib.contextmanager
def _file(text: str) -> Iterator[str]:
    """The name under which OpenSSL can read the text: in memory where the system has such files."""
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
