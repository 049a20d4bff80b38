"""The OpenID provider of the benchmarks: every visitor is a new user, signed in without a page.

    python -m bench.peers.provider PORT

It has just what the products need for the code flow: metadata, one RSA key, an authorization endpoint that
redirects at once, and a token endpoint that verifies PKCE (RFC 7636 4.6). Client id and secret are public,
and any redirect URI is accepted: it must never serve anything else. `GET /close` closes other connections.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from portal.demo.compact import b64, half_hash, sign_rs256
from portal.demo.provider_keys import SigningKeys, new_key

CLIENT_ID = "bench"
CLIENT_SECRET = "bench-secret-of-at-least-32-characters"
ACCESS_TOKEN_BYTES = 900
_LIFETIME = 6 * 3600
_REASONS = {200: "OK", 302: "Found", 400: "Bad Request", 404: "Not Found"}


@dataclass(frozen=True, slots=True)
class Code:
    """What an authorization code stands for."""

    subject: str
    nonce: str | None
    challenge: str | None


@dataclass(frozen=True, slots=True)
class Response:
    """A response of the provider."""

    status: int
    body: bytes = b"{}"
    location: str = ""

    def encode(self) -> bytes:
        """The response as it is sent."""
        location = f"Location: {self.location}\r\n" if self.location else ""
        head = (
            f"HTTP/1.1 {self.status} {_REASONS[self.status]}\r\nContent-Type: application/json\r\n"
            f"Cache-Control: no-store\r\n{location}Content-Length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


class BenchProvider:
    """The provider without its connections. `issuer` has no slash at its end."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._keys = SigningKeys(new_key())
        self._codes: dict[str, Code] = {}
        self._users = itertools.count(1)
        self._metadata = json.dumps(self._describe()).encode()

    def respond(self, target: str, body: bytes) -> Response:
        """Respond to a request for this target with this body."""
        parts = urlsplit(target)
        match parts.path:
            case "/.well-known/openid-configuration":
                return Response(200, self._metadata)
            case "/jwks":
                return Response(200, json.dumps(self._keys.jwks()).encode())
            case "/close":
                return Response(200)
            case "/authorize":
                return self._authorize(dict(parse_qsl(parts.query)))
            case "/token":
                return self._token(dict(parse_qsl(body.decode())))
            case _:
                return Response(404)

    def _describe(self) -> dict[str, object]:
        return {
            "issuer": self._issuer,
            "authorization_endpoint": f"{self._issuer}/authorize",
            "token_endpoint": f"{self._issuer}/token",
            "jwks_uri": f"{self._issuer}/jwks",
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "scopes_supported": ["openid", "profile", "email"],
        }

    def _authorize(self, sent: Mapping[str, str]) -> Response:
        code = secrets.token_urlsafe(24)
        subject = f"user-{next(self._users)}"
        self._codes[code] = Code(subject, sent.get("nonce"), sent.get("code_challenge"))
        query = urlencode({"code": code, "state": sent.get("state", "")})
        return Response(302, location=f"{sent['redirect_uri']}?{query}")

    def _token(self, sent: Mapping[str, str]) -> Response:
        code = self._codes.pop(sent.get("code", ""), None)
        if code is None or not _verifies(code.challenge, sent.get("code_verifier", "")):
            return Response(400, b'{"error": "invalid_grant"}')
        now, access_token = int(time.time()), secrets.token_urlsafe(ACCESS_TOKEN_BYTES * 3 // 4)
        key = self._keys.current
        claims = {
            "iss": self._issuer,
            "aud": CLIENT_ID,
            "sub": code.subject,
            "iat": now,
            "exp": now + _LIFETIME,
            "name": code.subject.title(),
            "email": f"{code.subject}@example.test",
            "email_verified": True,
            "at_hash": half_hash(access_token),
            **({"nonce": code.nonce} if code.nonce else {}),
        }
        tokens = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": _LIFETIME,
            "scope": "openid profile email",
            "id_token": sign_rs256({"alg": "RS256", "kid": key.kid}, claims, key.key),
        }
        return Response(200, json.dumps(tokens).encode())


def _verifies(challenge: str | None, verifier: str) -> bool:
    """Whether a code verifier belongs to the challenge (RFC 7636 4.6)."""
    return challenge is None or b64(hashlib.sha256(verifier.encode()).digest()) == challenge


class ProviderConnection(asyncio.Protocol):
    """One connection of a browser or a product."""

    _transport: asyncio.Transport

    def __init__(self, provider: BenchProvider, open_connections: set[ProviderConnection]) -> None:
        self._provider = provider
        self._open = open_connections
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._open.discard(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        fields = dict(line.lower().split(":", 1) for line in lines[1:] if ":" in line)
        length = int(fields.get("content-length", "0"))
        if not separator or len(rest) < length:
            return
        self._received = rest[length:]
        target = lines[0].split(" ")[1]
        if target == "/close":
            for other in self._open - {self}:
                other._transport.close()
        response = self._provider.respond(target, rest[:length])
        self._transport.write(response.encode())
        if fields.get("connection", "").strip() == "close":
            self._transport.close()


async def _serve(port: int) -> None:
    provider = BenchProvider(f"http://127.0.0.1:{port}")
    loop = asyncio.get_running_loop()
    connections: set[ProviderConnection] = set()
    server = await loop.create_server(lambda: ProviderConnection(provider, connections), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1])))
