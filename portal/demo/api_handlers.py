"""What every endpoint of a sample API has in common, and the ones that show what a proxy must carry."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest
from tornado.iostream import StreamClosedError
from tornado.web import stream_request_body

from portal.demo.api_tokens import Caller, KeysUnavailable, TokenRefused
from portal.demo.compact import b64
from portal.demo.dpop_proofs import DpopNonceRequired, ProofRefused
from portal.demo.endpoint_faults import FaultyHandler

if TYPE_CHECKING:
    from portal.demo.api import SampleApi

_ANY = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_PIECE = 64 * 1024
_LARGEST_BYTES = 4 * 1024**3


class ApiHandler(FaultyHandler):
    """An endpoint that asks for an access token and responds in JSON."""

    api: SampleApi
    caller: Caller
    endpoint: ClassVar[str]
    needs_token: ClassVar[bool] = True

    def initialize(self, api: SampleApi) -> None:
        """Tornado's constructor hook."""
        self.api = api

    async def prepare(self) -> None:
        """Count the call, let faults happen, then check the access token and its scope."""
        self.api.record(self.endpoint, self.request)
        for name, value in self.api.proofs.headers():
            self.set_header(name, value)
        fault = self.api.faults.due((self.endpoint,))
        if fault is not None:
            await self.suffer(fault)
        if self._finished or not self.needs_token:
            return
        if self.api.refuse_next > 0:
            self.api.refuse_next -= 1
            await self._challenge("The access token was refused on request of a test.")
            return
        await self._authorize()

    def set_default_headers(self) -> None:
        """Headers that every response has."""
        self.clear_header("Server")
        self.set_header("Cache-Control", "no-store")

    def needed_scope(self) -> str | None:
        """The scope this request needs; None: any good token will do."""
        return None

    async def respond(self, document: object, *, status: int = 200) -> None:
        """Send a JSON document."""
        if self.dropping_response():
            return
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(document))

    async def fail(self, status: int, error: str, message: str) -> None:
        """Send an error as JSON."""
        await self.respond({"error": error, "message": message}, status=status)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Errors that Tornado finds are JSON too."""
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"error": "failed", "message": self._reason}))

    async def _authorize(self) -> None:
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() not in {"bearer", "dpop"} or not token:
            self.set_header("WWW-Authenticate", f'Bearer realm="{self.api.settings.id}"')
            await self.fail(401, "unauthorized", "Send an access token: Authorization: Bearer …")
            return
        try:
            self.caller = await self.api.verifier.verify(token.strip())
        except TokenRefused as error:
            await self._challenge(str(error))
            return
        except KeysUnavailable as error:
            await self.fail(503, "keys_unavailable", str(error))
            return
        problem = self._dpop_prover(scheme.lower(), token.strip())
        if problem is not None:
            await self._challenge("The access token is bound to a key.", scheme="DPoP", error=problem)
            return
        scope = self.needed_scope()
        if scope is not None and scope not in self.caller.scope:
            challenge = f'Bearer realm="{self.api.settings.id}", error="insufficient_scope", scope="{scope}"'
            self.set_header("WWW-Authenticate", challenge)
            await self.fail(403, "insufficient_scope", f"This needs the scope {scope}.")

    def _dpop_prover(self, scheme: str, token: str) -> str | None:
        """Why a request does not show that its token is the caller's to use (RFC 9449 7.1, RFC 8705 3)."""
        confirmation = self.caller.claims.get("cnf")
        if not isinstance(confirmation, dict):
            return None if scheme == "bearer" else "invalid_token"
        if "x5t#S256" in confirmation:
            is_presented = confirmation["x5t#S256"] == _thumbprint(self.request)
            return None if scheme == "bearer" and is_presented else "invalid_token"
        proofs = self.request.headers.get_list("DPoP")
        method, url = str(self.request.method), self.request.full_url()
        try:
            key = self.api.proofs.verify(proofs, method=method, url=url, access_token=token)
        except DpopNonceRequired:
            return "use_dpop_nonce"
        except ProofRefused:
            return "invalid_dpop_proof"
        return None if scheme == "dpop" and key == confirmation.get("jkt") else "invalid_token"

    async def _challenge(self, message: str, *, scheme: str = "Bearer", error: str = "invalid_token") -> None:
        realm = self.api.settings.id
        challenge = f'{scheme} realm="{realm}", error="{error}", error_description="{message}"'
        self.set_header("WWW-Authenticate", challenge)
        await self.fail(401, error, message)


class NotFoundHandler(ApiHandler):
    """Every address below the API's base that means nothing."""

    endpoint = "unknown"

    async def prepare(self) -> None:
        await super().prepare()
        if not self._finished:
            await self.fail(404, "not_found", "This API has nothing at that address.")


class OutsideHandler(ApiHandler):
    """Every address outside the API's base: nothing that comes through the portal may arrive here."""

    endpoint = "outside"
    needs_token = False

    async def prepare(self) -> None:
        await super().prepare()
        if not self._finished:
            await self.fail(404, "not_found", "This address is outside the API.")


class EchoHandler(ApiHandler):
    """`/echo`: says what arrived, but not the access token."""

    endpoint = "echo"
    SUPPORTED_METHODS = _ANY

    async def get(self) -> None:
        request = self.request
        headers = [[k, v] for k, v in request.headers.get_all() if k.lower() != "authorization"]
        claims = self.caller.claims
        await self.respond(
            {
                "organisation": self.api.settings.name,
                "method": request.method,
                "path": self.api.below_base(request.path),
                "query": urlsplit(request.uri or "").query,
                "headers": headers,
                "authorization": {
                    "scheme": "Bearer",
                    "note": "Bearer present",
                    "subject": self.caller.subject,
                    "expires_at": claims["exp"],
                    "scope": sorted(self.caller.scope),
                },
                "body": request.body[:_PIECE].decode(errors="replace"),
                "body_bytes": len(request.body),
            }
        )

    head = post = put = patch = delete = options = get


class StreamHandler(ApiHandler):
    """`/stream?interval=1&count=`: server-sent events, until `count` or until the client goes."""

    endpoint = "stream"

    async def get(self) -> None:
        interval = _number(self.get_query_argument("interval", "1"), smallest=0.01, largest=60)
        count = int(_number(self.get_query_argument("count", "1000000"), smallest=1, largest=1_000_000))
        self.set_header("Content-Type", "text/event-stream")
        with self.api.streaming():
            for number in range(1, count + 1):
                tick = {"tick": number, "organisation": self.api.settings.name}
                if not await self.send_piece(f"event: tick\ndata: {json.dumps(tick)}\n\n".encode()):
                    return
                if number < count:
                    await self.wait(asyncio.sleep(interval))

    async def send_piece(self, piece: bytes) -> bool:
        """Send a piece of a response; False when the client is gone."""
        if self.client_gone.is_set():
            return False
        try:
            self.write(piece)
            await self.flush()
        except StreamClosedError:
            return False
        return True


class DownloadHandler(StreamHandler):
    """`/download?mb=10`: that many megabytes (1024² bytes), streamed."""

    endpoint = "download"

    async def get(self) -> None:
        megabytes = _number(self.get_query_argument("mb", "10"), smallest=0, largest=4096)
        size = int(megabytes * 1024**2)
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Length", str(size))
        self.set_header("Content-Disposition", 'attachment; filename="sample.bin"')
        piece = bytes(range(256)) * (_PIECE // 256)
        with self.api.streaming():
            for start in range(0, size, _PIECE):
                if not await self.send_piece(piece[: size - start]):
                    return


@stream_request_body
class UploadHandler(ApiHandler):
    """`/upload`: counts what is sent, without keeping it."""

    endpoint = "upload"

    async def prepare(self) -> None:
        self._received = 0
        self._digest = hashlib.sha256()
        self.request.connection.set_max_body_size(_LARGEST_BYTES)  # type: ignore[union-attr]
        await super().prepare()

    def data_received(self, chunk: bytes) -> None:
        self._received += len(chunk)
        self._digest.update(chunk)

    async def post(self) -> None:
        await self.respond({"received_bytes": self._received, "sha256": self._digest.hexdigest()})

    put = post


def _number(text: str, *, smallest: float, largest: float) -> float:
    try:
        number = float(text)
    except ValueError:
        return smallest
    return min(max(number, smallest), largest)


def _thumbprint(request: HTTPServerRequest) -> str | None:
    """The `x5t#S256` of the certificate that the client presented."""
    certificate = request.get_ssl_certificate(binary_form=True) if request.protocol == "https" else None
    return b64(hashlib.sha256(certificate).digest()) if isinstance(certificate, bytes) else None
