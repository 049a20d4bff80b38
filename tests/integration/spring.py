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
    """The server, and the certificates by which it knows clients. It begins to start at once.

    Parameters: folder, where its output and the certificates go.
    """

    def __init__(self, folder: Path) -> None:
        assert (HOME / ".ready").is_file(), "run scripts/setup.sh test first"
        tls_port = free_port()
        self._door = f"https://localhost:{tls_port}"
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
        """A client that is known by a certificate: of an authority, or self-signed (RFC 8705 section 2)."""
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
                    "token": f"{self._door}/oauth2/token",
                    "revocation": f"{self._door}/oauth2/revoke",
                },
            },
        )


def _certificates(folder: Path) -> Path:
    """A folder with certificates of the server and of the portal, one signed and one self-signed."""
    made = folder / "certificates"
    made.mkdir()
    authority = issue("the authority of acme", authority=True)
    signed, alone = issue("portal.example", authority), issue("portal.example")
    for name, one in (("server", issue("localhost", authority)), ("signed", signed), ("self_signed", alone)):
        # Spring takes a certificate for self-signed when nothing that leads up to an authority comes with it.
        (made / f"{name}.pem").write_text(one.chain + (authority.chain if one is signed else ""))
        (made / f"{name}.key").write_text(one.private_key())
    (made / "authority.pem").write_text(authority.chain)
    (made / "trusted.pem").write_text(authority.chain + alone.chain)
    return made
