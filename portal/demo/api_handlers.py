"""The endpoints of a sample API: its records, and echo, stream and download to test a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import json
from http.client import responses
from typing import Any
from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest
from tornado.iostream import StreamClosedError
from tornado.web import Application, RequestHandler

from portal.demo.api import SampleApi
from portal.demo.api_tokens import Caller, KeysUnavailable, TokenRefused

_ANY = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_PIECE = 64 * 1024


class ApiHandler(RequestHandler):
    """An endpoint that requires an access token and responds in JSON."""

    api: SampleApi
    caller: Caller
    token_schemes = frozenset({"bearer"})
    """Schemes of the Authorization header that carry an access token, in lower case."""

    def initialize(self, api: SampleApi) -> None:
        """Tornado's constructor hook."""
        self.api = api

    async def prepare(self) -> None:
        """Check the access token and its scope."""
        await self.authorize()

    def set_default_headers(self) -> None:
        """Set headers of every response."""
        self.clear_header("Server")
        self.set_header("Cache-Control", "no-store")

    def needed_scope(self) -> str | None:
        """The scope this request needs; None if any valid token is enough."""
        return None

    def respond(self, document: object, *, status: int = 200) -> None:
        """Send a JSON document."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(document))

    def fail(self, status: int, error: str, message: str) -> None:
        """Send an error as JSON."""
        self.respond({"error": error, "message": message}, status=status)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Send Tornado's own errors as JSON too."""
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"error": "failed", "message": responses.get(status_code, "Unknown")}))

    async def authorize(self) -> None:
        """Set `caller`, or send the error of the access token (RFC 6750 3)."""
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() not in self.token_schemes or not token:
            self.set_header("WWW-Authenticate", f'Bearer realm="{self.api.settings.id}"')
            self.fail(401, "unauthorized", "Send an access token: Authorization: Bearer …")
            return
        try:
            self.caller = await self.api.verifier.verify(token.strip())
        except TokenRefused as error:
            self.challenge(str(error))
            return
        except KeysUnavailable as error:
            self.fail(503, "keys_unavailable", str(error))
            return
        scope = self.needed_scope()
        if scope is not None and scope not in self.caller.scope:
            challenge = f'Bearer realm="{self.api.settings.id}", error="insufficient_scope", scope="{scope}"'
            self.set_header("WWW-Authenticate", challenge)
            self.fail(403, "insufficient_scope", f"This needs the scope {scope}.")

    def challenge(self, message: str, *, scheme: str = "Bearer", error: str = "invalid_token") -> None:
        """Refuse the access token (RFC 6750 3, RFC 9449 7.1)."""
        realm = self.api.settings.id
        challenge = f'{scheme} realm="{realm}", error="{error}", error_description="{message}"'
        self.set_header("WWW-Authenticate", challenge)
        self.fail(401, error, message)


class CollectionHandler(ApiHandler):
    """`/{collection}`: list the records, or add one."""

    def needed_scope(self) -> str:
        action = "write" if self.request.method == "POST" else "read"
        return f"{action}:{self.path_args[0]}"

    async def get(self, collection: str) -> None:
        self.respond({"organisation": self.api.settings.name, collection: self.api.records.all(collection)})

    async def post(self, collection: str) -> None:
        try:
            fields = json.loads(self.request.body or b"{}")
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            self.fail(400, "invalid_body", "Send a JSON object.")
            return
        record = self.api.records.add(collection, {**fields, "created_by": self.caller.subject})
        self.api.announcements.added(collection, record)
        self.set_header("Location", f"{self.api.settings.base_path}/{collection}/{record['id']}")
        self.respond(record, status=201)


class RecordHandler(ApiHandler):
    """`/{collection}/{id}`: one record, to read or to delete."""

    def needed_scope(self) -> str:
        action = "delete" if self.request.method == "DELETE" else "read"
        return f"{action}:{self.path_args[0]}"

    async def get(self, collection: str, record_id: str) -> None:
        record = self.api.records.find(collection, record_id)
        if record is None:
            self.fail(404, "not_found", "There is no such record.")
            return
        self.respond(record)

    async def delete(self, collection: str, record_id: str) -> None:
        if not self.api.records.remove(collection, record_id):
            self.fail(404, "not_found", "There is no such record.")
            return
        self.set_status(204)


class SecretsHandler(ApiHandler):
    """`/secrets?max_age=`: needs a sign-in with a second factor (RFC 9470), at most `max_age` seconds ago."""

    async def get(self) -> None:
        claims, longest = self.caller.claims, self.get_query_argument("max_age", "")
        signed_in_at = claims.get("auth_time")
        age = self.api.settings.clock() - signed_in_at if isinstance(signed_in_at, int) else float("inf")
        if claims.get("acr") != "mfa" or (longest.isdecimal() and age > int(longest)):
            self._challenge(longest if longest.isdecimal() else "")
            return
        self.respond({"organisation": self.api.settings.name, "secrets": ["The recipe is in the safe."]})

    def _challenge(self, max_age: str) -> None:
        """Ask for a step-up (RFC 9470 3)."""
        message = "A sign-in with a second factor is required."
        challenge = (
            f'Bearer realm="{self.api.settings.id}", error="insufficient_user_authentication", '
            f'error_description="{message}", acr_values="mfa"'
        )
        self.set_header("WWW-Authenticate", challenge + (f', max_age="{max_age}"' if max_age else ""))
        self.fail(401, "insufficient_user_authentication", message)


class NotFoundHandler(ApiHandler):
    """Every other path below the API's base path."""

    async def get(self) -> None:
        self.fail(404, "not_found", "This API has no resource at this path.")

    head = post = put = patch = delete = options = get


class EchoHandler(ApiHandler):
    """`/echo`: returns the request, without the access token."""

    SUPPORTED_METHODS = _ANY

    async def get(self) -> None:
        request = self.request
        headers = [[k, v] for k, v in request.headers.get_all() if k.lower() != "authorization"]
        claims = self.caller.claims
        self.respond(
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
    """`/stream?interval=1&count=`: server-sent events, until `count` or until the client disconnects."""

    def __init__(self, application: Application, request: HTTPServerRequest, **kwargs: Any) -> None:
        self.client_gone = asyncio.Event()
        super().__init__(application, request, **kwargs)

    def on_connection_close(self) -> None:
        """Record that the client disconnected."""
        self.client_gone.set()

    async def get(self) -> None:
        interval = _number(self.get_query_argument("interval", "1"), smallest=0.01, largest=60)
        count = int(_number(self.get_query_argument("count", "1000000"), smallest=1, largest=1_000_000))
        self.set_header("Content-Type", "text/event-stream")
        for number in range(1, count + 1):
            tick = {"tick": number, "organisation": self.api.settings.name}
            if not await self.send_piece(f"event: tick\ndata: {json.dumps(tick)}\n\n".encode()):
                return
            if number < count:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.client_gone.wait(), interval)

    async def send_piece(self, piece: bytes) -> bool:
        """Send a piece of a response. Returns False when the client has disconnected."""
        if self.client_gone.is_set():
            return False
        try:
            self.write(piece)
            await self.flush()
        except StreamClosedError:
            return False
        return True


class DownloadHandler(StreamHandler):
    """`/download?mb=10`: streams this many megabytes (1024² bytes)."""

    async def get(self) -> None:
        megabytes = _number(self.get_query_argument("mb", "10"), smallest=0, largest=4096)
        size = int(megabytes * 1024**2)
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Length", str(size))
        self.set_header("Content-Disposition", 'attachment; filename="sample.bin"')
        piece = bytes(range(256)) * (_PIECE // 256)
        for start in range(0, size, _PIECE):
            if not await self.send_piece(piece[: size - start]):
                return


def _number(text: str, *, smallest: float, largest: float) -> float:
    try:
        number = float(text)
    except ValueError:
        return smallest
    return min(max(number, smallest), largest)
