"""A Spring Authorization Server in a child process."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.child import ROOT, Child
from tests.integration.served import free_port
from tests.integration.shared_provider import Registration
from tests.unit.outbound.certificates import issue

HOME = ROOT / ".cache" / "spring"


class SpringServer:
    """The server and the certificates of its clients. The constructor starts it without waiting.

    Parameters: folder, for its output and the certificates.
    """

    def __init__(self, folder: Path) -> None:
        assert (HOME / ".ready").is_file(), "run scripts/setup.sh test first"
        tls_port = free_port()
        self._mtls_url = f"https://localhost:{tls_port}"
        self._certificates = _certificates(folder)
        config = {
            "port": free_port(),
            "tls": {
                "port": tls_port,
                "certificate": str(self._certificates / "server.pem"),
                "key": str(self._certificates / "server.key"),
                "trusted": str(self._certificates / "trusted.pem"),
            },
        }
        memory = ("-Xms64m", "-Xmx200m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        command = ("java", *memory, "-cp", f"{HOME}/classes:{HOME}/lib/*", "SpringTestServer")
        self.child = Child("spring", command, folder, first_line=json.dumps(config))

    def end(self) -> None:
        self.child.end()
        print(self.child.errors)

    def registration_by_certificate(self, auth: str, *, signed: bool) -> Registration:
        """Return a client with an authority's or a self-signed certificate (RFC 8705 section 2)."""
        name = "signed" if signed else "self_signed"
        return Registration(
            {
                "auth": auth,
                "certificate": f"file:{self._certificates / name}.pem",
                "private_key": f"file:{self._certificates / name}.key",
            },
            {
                "tls": {"ca": f"file:{self._certificates / 'authority.pem'}"},
                # Its metadata has no mtls_endpoint_aliases (RFC 8705 section 5).
                "endpoints": {
                    "token": f"{self._mtls_url}/oauth2/token",
                    "revocation": f"{self._mtls_url}/oauth2/revoke",
                },
            },
        )


def _certificates(folder: Path) -> Path:
    """Create certificates for the server, and a signed and a self-signed one for the portal."""
    made = folder / "certificates"
    made.mkdir()
    authority = issue("the authority of acme", authority=True)
    signed, alone = issue("portal.example", authority), issue("portal.example")
    for name, one in (("server", issue("localhost", authority)), ("signed", signed), ("self_signed", alone)):
        # Spring treats a certificate without its authority's certificate as self-signed.
        (made / f"{name}.pem").write_text(one.chain + (authority.chain if one is signed else ""))
        (made / f"{name}.key").write_text(one.private_key())
    (made / "authority.pem").write_text(authority.chain)
    (made / "trusted.pem").write_text(authority.chain + alone.chain)
    return made
