"""The sample API for tests, with faults, records, bound tokens and hostile responses."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from tornado.httputil import HTTPServerRequest
from tornado.web import Application, stream_request_body

from portal.demo.api import ApiSettings, SampleApi
from portal.demo.api_files import FilesHandler
from portal.demo.api_handlers import (
    ApiHandler,
    CollectionHandler,
    DownloadHandler,
    EchoHandler,
    NotFoundHandler,
    RecordHandler,
    SecretsHandler,
    StreamHandler,
)
from portal.demo.api_live import EventsHandler, LiveHandler
from portal.demo.api_routes import api_application, api_routes
from portal.demo.compact import b64
from tests.kit.faulty.dpop import DpopNonceRequired, ProofRefused, ProofVerifier
from tests.kit.faulty.endpoints import EndpointFault, EndpointFaults, FaultyHandler
from tests.kit.faulty.hostile_responses import HOSTILE

_LARGEST_BYTES = 4 * 1024**3


@dataclass(frozen=True, slots=True)
class ReceivedCall:
    """A call that reached the API. `bearer` is the SHA-256 of its access token in hex, or empty."""

    endpoint: str
    method: str
    uri: str
    headers: Sequence[tuple[str, str]] = field(repr=False)
    bearer: str


class FaultyApi(SampleApi):
    """A SampleApi with faults.

    `calls` counts calls by endpoint (`collection`, `record`, `echo`, `stream`, `download`, `events`, `live`,
    `files`, `upload`, `hostile`, `unknown`, `outside`), `received` keeps the last of them, `open_streams` is
    how many streams and downloads are in progress, `open_sockets` how many WebSockets are open,
    `refuse_next` is how many of the next calls get a 401, `proofs.nonce` is
    the required nonce of DPoP proofs, and `faults["echo"] = EndpointFault(...)` makes an endpoint fail. With
    `hostile`, it serves the responses of `hostile_responses` below `/hostile/`.
    """

    def __init__(self, settings: ApiSettings, *, hostile: bool = False) -> None:
        super().__init__(settings)
        self.hostile = hostile
        self.calls: Counter[str] = Counter()
        self.received: deque[ReceivedCall] = deque(maxlen=500)
        self.faults = EndpointFaults()
        self.proofs = ProofVerifier(settings.clock)
        self.refuse_next = 0
        self.open_streams = 0
        self.open_sockets = 0

    def application(self) -> Application:
        """The API as a Tornado application."""
        base = re.escape(self.settings.base_path)
        more: list[tuple[str, type[ApiHandler]]] = [(f"{base}/upload", UploadHandler)]
        if self.hostile:
            more.append((f"{base}/hostile/([a-z-]+)", HostileHandler))
        routes: list[tuple[str, type[ApiHandler]]] = [*more, *api_routes(self), (".*", OutsideHandler)]
        return api_application(self, [(path, _FAULTY[handler]) for path, handler in routes])

    def record(self, endpoint: str, request: HTTPServerRequest) -> None:
        """Count and record a call, without its token."""
        self.calls[endpoint] += 1
        _, _, token = request.headers.get("Authorization", "").partition(" ")
        self.received.append(
            ReceivedCall(
                endpoint,
                request.method or "",
                request.uri or "",
                [(k, v) for k, v in request.headers.get_all() if k.lower() != "authorization"],
                hashlib.sha256(token.encode()).hexdigest() if token else "",
            )
        )

    @contextlib.contextmanager
    def streaming(self) -> Iterator[None]:
        """Count a stream while it is in progress."""
        self.open_streams += 1
        try:
            yield
        finally:
            self.open_streams -= 1


class FaultyApiHandler(FaultyHandler, ApiHandler):
    """Mixin of all handlers: records calls, applies faults, and accepts bound tokens."""

    api: FaultyApi
    endpoint: ClassVar[str]
    token_schemes = frozenset({"bearer", "dpop"})

    def record_request(self) -> EndpointFault | None:
        self.api.record(self.endpoint, self.request)
        for name, value in self.api.proofs.headers():
            self.set_header(name, value)
        return self.api.faults.due((self.endpoint,))

    async def authorize(self) -> None:
        if self.api.refuse_next > 0:
            self.api.refuse_next -= 1
            self.challenge("A test made the API refuse the access token.")
            return
        await super().authorize()
        if self._finished:
            return
        scheme, _, token = self.request.headers["Authorization"].partition(" ")
        problem = self._binding_problem(scheme.lower(), token.strip())
        if problem is not None:
            self.challenge("The access token is bound to a key.", scheme="DPoP", error=problem)

    def _binding_problem(self, scheme: str, token: str) -> str | None:
        """Return the error if the request does not prove possession of the key (RFC 9449 7.1, RFC 8705 3)."""
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


class CountedStreamHandler(StreamHandler):
    """`/stream`, counted while it is in progress."""

    api: FaultyApi

    async def get(self) -> None:
        with self.api.streaming():
            await super().get()


class CountedDownloadHandler(DownloadHandler):
    """`/download`, counted while it is in progress."""

    api: FaultyApi

    async def get(self) -> None:
        with self.api.streaming():
            await super().get()


class CountedEventsHandler(EventsHandler):
    """`/events`, counted while it is in progress."""

    api: FaultyApi

    async def get(self) -> None:
        with self.api.streaming():
            await super().get()


class CountedLiveHandler(LiveHandler):
    """`/live`, counted while it is open."""

    api: FaultyApi

    def open(self, *args: str, **kwargs: str) -> None:
        self.api.open_sockets += 1
        super().open(*args, **kwargs)

    def on_close(self) -> None:
        self.api.open_sockets -= 1
        super().on_close()


class OutsideHandler(ApiHandler):
    """All paths outside the API's base path, which no request through the portal may reach."""

    async def prepare(self) -> None:
        self.fail(404, "not_found", "This address is outside the API.")


@stream_request_body
class UploadHandler(ApiHandler):
    """`/upload`: counts the body without storing it."""

    async def prepare(self) -> None:
        self._received = 0
        self._digest = hashlib.sha256()
        self.request.connection.set_max_body_size(_LARGEST_BYTES)  # type: ignore[union-attr]
        await super().prepare()

    def data_received(self, chunk: bytes) -> None:
        self._received += len(chunk)
        self._digest.update(chunk)

    async def post(self) -> None:
        self.respond({"received_bytes": self._received, "sha256": self._digest.hexdigest()})

    put = post


class HostileHandler(ApiHandler):
    """`/hostile/{name}`: the response of that name, to any method."""

    async def get(self, name: str) -> None:
        hostile = HOSTILE.get(name)
        if hostile is None:
            self.fail(404, "not_found", "There is no hostile response with this name.")
            return
        self.set_status(hostile.status)
        self.clear_header("Content-Type")
        if hostile.content_type:
            self.set_header("Content-Type", hostile.content_type)
        for header, values in hostile.headers.items():
            self.clear_header(header)
            for value in values:
                self.add_header(header, value)
        self.finish(hostile.body)

    head = post = put = patch = delete = options = get


def _faulty(name: str, handler: type[ApiHandler]) -> type[ApiHandler]:
    return type(handler.__name__, (FaultyApiHandler, handler), {"endpoint": name})


_FAULTY: Mapping[type[ApiHandler], type[ApiHandler]] = {
    CollectionHandler: _faulty("collection", CollectionHandler),
    RecordHandler: _faulty("record", RecordHandler),
    SecretsHandler: _faulty("secrets", SecretsHandler),
    EchoHandler: _faulty("echo", EchoHandler),
    StreamHandler: _faulty("stream", CountedStreamHandler),
    DownloadHandler: _faulty("download", CountedDownloadHandler),
    EventsHandler: _faulty("events", CountedEventsHandler),
    LiveHandler: _faulty("live", CountedLiveHandler),
    FilesHandler: _faulty("files", FilesHandler),
    UploadHandler: _faulty("upload", UploadHandler),
    HostileHandler: _faulty("hostile", HostileHandler),
    NotFoundHandler: _faulty("unknown", NotFoundHandler),
    OutsideHandler: _faulty("outside", OutsideHandler),
}


def _thumbprint(request: HTTPServerRequest) -> str | None:
    """Return the `x5t#S256` of the client certificate."""
    certificate = request.get_ssl_certificate(binary_form=True) if request.protocol == "https" else None
    return b64(hashlib.sha256(certificate).digest()) if isinstance(certificate, bytes) else None
