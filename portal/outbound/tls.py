"""What a tenant says of TLS towards its provider and its API: its own certificate, its own authorities.

Both are texts in PEM form. Nothing is read from a file here.
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
    """The certificate by which a provider knows the portal (RFC 8705 2), with what leads up to its root."""

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
    """How connections to one provider or API are made; equal values may share connections.

    `authorities`, PEM, takes the place of the system's authorities for this server alone.
    """

    authorities: str | None = field(default=None, repr=False)
    certificate: ClientCertificate | None = None


PLAIN = Tls()
"""The system's certificate authorities, and no certificate of one's own."""
