"""What a tenant says of TLS towards its provider: its own certificate, its own authorities.

Both are texts in PEM form. Nothing is read from a file here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from portal.secret import Secret


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """The certificate by which a provider knows the portal (RFC 8705 2), with what leads up to its root."""

    chain: str = field(repr=False)
    """PEM, the portal's own certificate first."""
    private_key: Secret
    """PEM, not encrypted."""


@dataclass(frozen=True, slots=True)
class Tls:
    """How connections to one provider are made; equal values may share connections.

    `authorities`, PEM, takes the place of the system's authorities for this provider alone.
    """

    authorities: str | None = field(default=None, repr=False)
    certificate: ClientCertificate | None = None


PLAIN = Tls()
"""The system's certificate authorities, and no certificate of one's own."""
