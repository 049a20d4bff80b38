"""A hostile provider on a loopback socket: it sends exactly the bytes of a case.

Documents are written for `ISSUER`, which is replaced by the server's URL when they are sent.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from portal.oidc.provider import Authentication
from portal.oidc.relying_party import RelyingParty
from portal.outbound.client import OutboundClient
from portal.secret import Secret
from tests.hostile.documents import Members, members, write
from tests.hostile.minting import compact, rsa_jwk
from tests.hostile.samples import HEADER, METADATA, SHORT, key_set, registration
from tests.hostile.token_oracle import ACCESS_TOKEN, CODE, ISSUER, NONCE, NOW
from tests.unit.outbound.wire import Received, Wire, calling, http_response, serving

DISCOVERY, JWKS, TOKEN = "/.well-known/openid-configuration", "/jwks_uri", "/token_endpoint"
DOCUMENTS = {"discovery": DISCOVERY, "keys": JWKS, "tokens": TOKEN}
PARTS = METADATA.without("require_pushed_authorization_requests")
CALLBACK = "https://portal.example/t/acme/callback"
ERROR_STATUSES = (201, 202, 203, 206, 300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 410, 418, 451)


@dataclass(slots=True)
class HostileProvider:
    """The provider, and a client that logs in there."""

    wire: Wire
    client: OutboundClient
    bodies: dict[str, bytes] = field(default_factory=dict)
    """Bodies that replace the valid ones, by path."""
    raw: dict[str, bytes] = field(default_factory=dict)
    """Raw HTTP responses by path; the connection is closed after them."""

    @property
    def issuer(self) -> str:
        return self.wire.url("/")

    def behave(self) -> None:
        """Remove all faults and recorded requests."""
        self.bodies.clear()
        self.raw.clear()
        self.wire.received.clear()

    def body(self, path: str, token: str | None = None) -> bytes:
        """Return the valid body of a path."""
        documents: dict[str, Callable[[], Members]] = {
            DISCOVERY: lambda: PARTS,
            JWKS: lambda: key_set(rsa_jwk()),
            TOKEN: lambda: self.token_response(token or self.token(HEADER, write(SHORT))),
        }
        return self.own(write(documents[path]()).encode())

    def token(self, header: Members | bytes, payload: str | bytes) -> str:
        """Return an ID token with this server as its issuer."""
        text = header if isinstance(header, bytes) else write(header).encode()
        return compact(text, self.own(payload.encode() if isinstance(payload, str) else payload))

    def token_response(self, id_token: str) -> Members:
        return members(
            access_token=ACCESS_TOKEN,
            token_type="Bearer",
            expires_in=3600,
            refresh_token="8xLOxBtZp8",
            id_token=id_token,
        )

    def own(self, data: bytes) -> bytes:
        return data.replace(ISSUER.encode(), self.issuer.encode())

    def script(self, request: Received) -> bytes | Callable[[asyncio.StreamWriter], object]:
        path = urlsplit(request.target).path
        if path in self.raw:
            return _then_close(self.raw[path])
        if path not in DOCUMENTS.values():
            return http_response(404)
        body = self.bodies.get(path)
        return http_response(
            200, self.body(path) if body is None else body, [("Content-Type", "application/json")]
        )

    async def log_in(self) -> Authentication:
        """Do a complete login with a relying party whose caches are empty."""
        relying_party = RelyingParty(self.client, clock=lambda: float(NOW))
        provider = registration(issuer=self.issuer)
        try:
            await relying_party.begin(provider, redirect_uri=CALLBACK)
            return await relying_party.finish(
                provider,
                {"code": [CODE], "state": ["matched already"], "iss": [self.issuer]},
                nonce=NONCE,
                code_verifier=Secret("v" * 43),
                redirect_uri=CALLBACK,
            )
        finally:
            await relying_party.close()


def _then_close(data: bytes) -> Callable[[asyncio.StreamWriter], object]:
    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()

    return say


@asynccontextmanager
async def hostile_provider() -> AsyncIterator[HostileProvider]:
    """Serve until the block ends."""
    made: list[HostileProvider] = []
    async with serving(lambda request: made[0].script(request)) as wire, calling() as client:  # type: ignore[arg-type,return-value]
        made.append(HostileProvider(wire, client))
        yield made[0]


def http_faults(body: bytes, *, success: frozenset[int]) -> Iterator[tuple[str, bytes, bool | None]]:
    """Faults of an HTTP response with a valid body: name, bytes, and whether it is still acceptable.

    None: both outcomes are correct. `success`: the status codes of a success.
    """
    for status in (*ERROR_STATUSES, 429, 500, 501, 502, 503, 504, 599, 600, 999):
        yield f"status {status}", http_response(status, body), status in success
    length = f"Content-Length: {len(body)}".encode()
    ok = b"HTTP/1.1 200 OK\r\n"
    yield "no fault", http_response(200, body), True
    yield "no length", ok + b"Connection: close\r\n\r\n" + body, True
    yield "HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\n" + body, True
    yield "chunks", ok + b"Transfer-Encoding: chunked\r\n\r\n" + _chunked(body), True
    yield "cookies", http_response(200, body, [("Set-Cookie", f"c{n}=x") for n in range(50)]), True
    yield "HTML by its type", http_response(200, body, [("Content-Type", "text/html")]), None
    yield (
        "another charset",
        http_response(200, body, [("Content-Type", "application/json; charset=utf-16")]),
        None,
    )
    redirect = [("Location", "http://169.254.169.254/")]
    yield "a redirect", http_response(302, body, redirect), False
    yield "compressed", http_response(200, gzip.compress(body), [("Content-Encoding", "gzip")]), False
    yield "compressed twice", http_response(200, body, [("Content-Encoding", "gzip, gzip")]), False
    yield "compressed by name only", http_response(200, body, [("Content-Encoding", "br")]), False
    yield "cut off", ok + length + b"\r\n\r\n" + body[:-5], False
    yield "nothing of it", ok + length + b"\r\n\r\n", False
    yield "a shorter length", ok + b"Content-Length: 5\r\n\r\n" + body, False
    yield "two lengths", ok + b"Content-Length: 5\r\n" + length + b"\r\n\r\n" + body, False
    yield "a negative length", ok + b"Content-Length: -5\r\n\r\n" + body, False
    yield "a length in words", ok + b"Content-Length: five\r\n\r\n" + body, False
    yield "an empty length", ok + b"Content-Length: \r\n\r\n" + body, False
    yield "a length of 400 digits", ok + b"Content-Length: " + b"9" * 400 + b"\r\n\r\n" + body, False
    yield "length and chunks", ok + length + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + _chunked(body), None
    yield "chunks cut off", ok + b"Transfer-Encoding: chunked\r\n\r\n" + _chunked(body)[:-7], False
    yield "a chunk of no size", ok + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n" + body, False
    yield "a negative chunk", ok + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n" + body, False
    yield "an endless chunk", ok + b"Transfer-Encoding: chunked\r\n\r\n" + b"F" * 40 + b"\r\n" + body, False
    yield "an unknown coding", ok + b"Transfer-Encoding: x\r\n\r\n" + body, None
    yield "an empty response", b"", False
    yield "line breaks", b"\r\n" * 1_000, False
    yield "noise", bytes(range(256)) * 16, False
    yield "a TLS alert", b"\x15\x03\x03\x00\x02\x02\x28", False
    yield "HTTP/0.9", body, False
    yield "HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", False
    yield "HTTP/9.9", b"HTTP/9.9 200 OK\r\n" + length + b"\r\n\r\n" + body, None
    yield "another protocol", b"SSH-2.0-OpenSSH_9.9\r\n", False
    yield "a status in words", b"HTTP/1.1 OK OK\r\n" + length + b"\r\n\r\n" + body, False
    yield "no status", b"HTTP/1.1\r\n\r\n" + body, False
    yield "a status of 20 digits", b"HTTP/1.1 " + b"2" * 20 + b" OK\r\n" + length + b"\r\n\r\n" + body, False
    yield "a continue for ever", b"HTTP/1.1 100 Continue\r\n\r\n" * 50, False
    yield "a switch of protocols", b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n" + body, False
    yield "a header of 1 MB", ok + b"X: " + b"x" * 1_000_000 + b"\r\n" + length + b"\r\n\r\n" + body, False
    yield "100,000 headers", ok + b"X: x\r\n" * 100_000 + length + b"\r\n\r\n" + body, None
    yield "a NUL in a header", ok + b"X: a\0b\r\n" + length + b"\r\n\r\n" + body, None
    yield "a header that is not UTF-8", ok + b"X: \xff\xfe\r\n" + length + b"\r\n\r\n" + body, None
    yield "a header without a colon", ok + b"nonsense\r\n" + length + b"\r\n\r\n" + body, None
    yield "a folded header", ok + b"X: a\r\n b\r\n" + length + b"\r\n\r\n" + body, None
    yield "1 MB of white space", http_response(200, body + b" " * 1_000_000), False
    yield "cache for ever", http_response(200, body, [("Cache-Control", f"max-age={'9' * 400}")]), True
    yield (
        "a cache time in words",
        http_response(200, body, [("Cache-Control", "max-age=-1, max-age=x")]),
        True,
    )


def _chunked(body: bytes) -> bytes:
    return f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
