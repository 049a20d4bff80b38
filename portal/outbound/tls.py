"""TLS settings of a tenant for its providers and its API: a client certificate, certificate authorities.

Both are PEM text. Nothing is read from a file here.
"""

from __future__ import annotations

import hashlib
import re
import ssl
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS settings for one provider or API; requests with equal settings may share connections.

    `authorities`, PEM, replaces the system's certificate authorities for this server only.
    """

    authorities: str | None = field(default=None, repr=False)
    certificate: ClientCertificate | None = None


DEFAULT_TLS = Tls()
"""The system's certificate authorities, and no client certificate."""
