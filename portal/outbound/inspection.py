"""Looks at a server's TCP port and certificate without sending a request; for the live checks of a tenant."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from portal.errors import OutboundFailed
from portal.outbound.dialing import connect
from portal.outbound.request import Origin
from portal.outbound.tls import for_http
from portal.outbound.tls_connection import TlsClient, TlsConnection
from portal.outbound.tls_sessions import TlsSessions

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_MOST_NAMES = 5
"""Names of a certificate to report; one may have thousands."""


class CertificateProblem(StrEnum):
    """Why a server's certificate is not accepted."""

    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    WRONG_NAME = "wrong_name"
    UNKNOWN_AUTHORITY = "unknown_authority"
    OTHER = "other"


_PROBLEMS = {
    9: CertificateProblem.NOT_YET_VALID,
    10: CertificateProblem.EXPIRED,
    18: CertificateProblem.UNKNOWN_AUTHORITY,
    19: CertificateProblem.UNKNOWN_AUTHORITY,
    20: CertificateProblem.UNKNOWN_AUTHORITY,
    21: CertificateProblem.UNKNOWN_AUTHORITY,
    62: CertificateProblem.WRONG_NAME,
    64: CertificateProblem.WRONG_NAME,
}
"""The codes of OpenSSL (X509_V_ERR_*, x509_vfy.h)."""


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """The certificate of a server. Times are seconds since the epoch, UTC."""

    names: tuple[str, ...]
    """The first host names and addresses that it is valid for."""
    issuer: str
    not_before: float
    not_after: float


@dataclass(frozen=True, slots=True)
class Inspection:
    """A server that accepts connections.

    `certificate` is None with plain http, or if it cannot be read; `problem` is None if the certificate is
    accepted, and `reason` is OpenSSL's text for it.
    """

    certificate: ServerCertificate | None = None
    problem: CertificateProblem | None = None
    reason: str = ""


async def inspect(
    origin: Origin, addresses: Sequence[str], client: TlsClient | None, *, allow_private_networks: bool
) -> Inspection:
    """Connect to one of these addresses and look at the certificate.

    A certificate that is not accepted is read in a second handshake, after which nothing is sent.

    Parameters: client, for the handshake; None for plain http.
    Raises: OutboundRefused when nothing was sent; OutboundFailed without a connection or TLS.
    """

    async def connected() -> socket.socket:
        return await connect(origin, addresses, allow_private_networks=allow_private_networks)

    if client is None:
        (await connected()).close()
        return Inspection()
    # a resumed session would not show the certificate that the server has now
    client = replace(client, sessions=TlsSessions(1))
    try:
        return Inspection(_read(await _certificate(await connected(), origin, client)))
    except ssl.SSLCertVerificationError as error:
        problem = _PROBLEMS.get(error.verify_code, CertificateProblem.OTHER)
        reason = error.verify_message
    except ssl.SSLError as error:
        raise OutboundFailed(f"no TLS connection: {error.reason or 'the handshake failed'}") from error
    except OSError as error:
        raise OutboundFailed(f"no connection: {error.strerror or type(error).__name__}") from error
    unverified = replace(client, context=_unverified_context())
    try:
        presented = _read(await _certificate(await connected(), origin, unverified))
    except (OSError, OutboundFailed):  # the problem is known without it
        presented = None
    return Inspection(presented, problem, reason)


async def _certificate(connected: socket.socket, origin: Origin, client: TlsClient) -> bytes | None:
    try:
        tls: TlsConnection = await client.handshake(connected, origin)
        return tls.certificate
    finally:
        connected.close()


def _unverified_context() -> ssl.SSLContext:
    """A context to read a certificate that was not accepted. Never send a request with it."""
    context = for_http(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _read(der: bytes | None) -> ServerCertificate | None:
    from cryptography import x509  # imported here: it loads slowly

    if der is None:
        return None
    try:
        certificate = x509.load_der_x509_certificate(der)
        return ServerCertificate(
            _names(certificate),
            certificate.issuer.rfc4514_string(),
            certificate.not_valid_before_utc.timestamp(),
            certificate.not_valid_after_utc.timestamp(),
        )
    except ValueError:  # OpenSSL accepts some that cryptography does not
        return None


def _names(certificate: Certificate) -> tuple[str, ...]:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return (certificate.subject.rfc4514_string(),)
    dns = names.get_values_for_type(x509.DNSName)
    addresses = [str(one) for one in names.get_values_for_type(x509.IPAddress)]
    return tuple([*dns, *addresses][:_MOST_NAMES])
