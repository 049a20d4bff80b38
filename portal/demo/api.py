"""Sample APIs for `portal demo` and for tests: one a tenant, each with its own records and scopes."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tornado.httputil import HTTPServerRequest
from tornado.web import Application, RequestHandler

from portal.clock import Clock, now
from portal.demo.api_data import CollectionHandler, Collections, RecordHandler, Records
from portal.demo.api_handlers import (
    DownloadHandler,
    EchoHandler,
    NotFoundHandler,
    OutsideHandler,
    StreamHandler,
    UploadHandler,
)
from portal.demo.api_hostile import HostileHandler
from portal.demo.api_tokens import AccessTokenVerifier
from portal.demo.dpop_proofs import ProofVerifier
from portal.demo.endpoint_faults import EndpointFaults

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """A sample API. `base_path` is what its addresses begin with, like `/v1`."""

    id: str
    name: str
    issuer: str
    jwks_uri: str
    audience: str
    collections: Collections
    base_path: str = "/v1"
    hostile: bool = False
    """Serve the responses of `api_hostile` below `/hostile/`."""
    clock: Clock = now


@dataclass(frozen=True, slots=True)
class ReceivedCall:
    """A call that reached the API. `bearer` is the SHA-256 of its access token in hex, or empty."""

    endpoint: str
    method: str
    uri: str
    headers: Sequence[tuple[str, str]] = field(repr=False)
    bearer: str


class SampleApi:
    """One API that takes the access tokens of one provider.

    For tests: `calls` counts calls by endpoint (`collection`, `record`, `echo`, `stream`, `download`,
    `upload`, `hostile`, `unknown`, `outside`), `received` keeps the last of them, `open_streams` is how many
    streams and downloads are under way, `refuse_next` is how many more calls get a 401 whatever their token,
    `proofs.nonce` is what DPoP proofs must carry, and `faults["echo"] = EndpointFault(...)` makes an endpoint
    fail.
    """

    def __init__(self, settings: ApiSettings) -> None:
        self.settings = settings
        self.records = Records(settings.collections)
        self.verifier = AccessTokenVerifier(
            issuer=settings.issuer,
            audience=settings.audience,
            jwks_uri=settings.jwks_uri,
            clock=settings.clock,
        )
        self.calls: Counter[str] = Counter()
        self.received: deque[ReceivedCall] = deque(maxlen=500)
        self.faults = EndpointFaults()
        self.proofs = ProofVerifier(settings.clock)
        self.refuse_next = 0
        self.open_streams = 0

    def application(self) -> Application:
        """The API as a Tornado application."""
        base = re.escape(self.settings.base_path)
        collection = "(" + "|".join(self.records.names) + ")"
        handlers: list[tuple[str, type[RequestHandler]]] = [
            (f"{base}/{collection}", CollectionHandler),
            (f"{base}/{collection}/([^/]+)", RecordHandler),
            (f"{base}/echo(?:/.*)?", EchoHandler),
            (f"{base}/stream", StreamHandler),
            (f"{base}/download", DownloadHandler),
            (f"{base}/upload", UploadHandler),
            (f"{base}(?:/.*)?", NotFoundHandler),
            (".*", OutsideHandler),
        ]
        if self.settings.hostile:
            handlers.insert(0, (f"{base}/hostile/([a-z-]+)", HostileHandler))
        return Application(
            [(path, handler, {"api": self}) for path, handler in handlers], log_function=_log_request
        )

    def below_base(self, path: str) -> str:
        """A path without the API's own prefix."""
        return path.removeprefix(self.settings.base_path)

    def record(self, endpoint: str, request: HTTPServerRequest) -> None:
        """Count a call and remember what it looked like, without its token."""
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
        """Count a stream while it is under way."""
        self.open_streams += 1
        try:
            yield
        finally:
            self.open_streams -= 1


def _log_request(handler: RequestHandler) -> None:
    _log.debug("%s %s %s", handler.get_status(), handler.request.method, handler.request.path)
