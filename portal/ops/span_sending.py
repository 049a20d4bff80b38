"""What takes spans to the collector: OpenTelemetry's exporter, and what the log says of losses.

Needs the packages of the extra `otel`: it is imported only with `traces` in the settings.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import requests
import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from urllib3.exceptions import HTTPError

_log = structlog.get_logger("portal.traces")

_REQUEST_SECONDS = 5.0
_BODY_SECONDS = 5.0
"""For the rest of a response whose head has arrived."""
_MOST_OF_A_BODY = 4096
"""Bytes of a response that are read, so that its connection can be used again. A collector sends a few."""
_REPORT_SECONDS = 60.0


def _quiet() -> None:
    """Keep what libraries say of each failed request out of the log: `LossLog` has what matters."""
    for name in ("opentelemetry", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


class CollectorSession(requests.Session):
    """Sends spans as the portal sends other requests: without redirects, proxies and endless responses."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False  # neither proxies nor .netrc nor certificates of the environment
        self.failure = ""
        """Why the last request failed: a status, or the type of an error; empty if it did not."""

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        """Send a request; nothing of its response is used but the status. Raises: as requests."""
        try:
            response = super().request(*arguments, **{**options, "allow_redirects": False, "stream": True})
        except Exception as error:
            self.failure = type(error).__name__
            raise
        end = time.monotonic() + _BODY_SECONDS
        with contextlib.closing(response), contextlib.suppress(HTTPError, OSError):
            # The collector has decided. What goes wrong from here on costs the connection, nothing else.
            for _ in range(_MOST_OF_A_BODY):
                if not response.raw.read(1, decode_content=False) or time.monotonic() > end:
                    break
        self.failure = "" if 200 <= response.status_code < 300 else f"status {response.status_code}"
        if 300 <= response.status_code < 400:  # which the exporter takes for success
            raise requests.RequestException(self.failure)
        return response


class LossLog:
    """Says in the log that spans are lost: at most once a minute. Threads share it.

    Parameters: clock, monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._lost = 0
        self._reason = ""
        self._next = float("-inf")
        self._failing = False

    def lost(self, spans: int, reason: str, *, at_once: bool = False) -> None:
        """Spans were lost. Parameters: reason, with nothing that a collector wrote; at_once, log all now."""
        with self._lock:
            self._lost += spans
            self._reason = reason if spans else self._reason
            if not self._lost or (self._clock() < self._next and not at_once):
                return
            self._next = self._clock() + _REPORT_SECONDS
            self._failing = True
            lost, self._lost = self._lost, 0
        _log.warning("spans_not_sent", spans=lost, reason=self._reason)

    def sent(self) -> None:
        """The collector took spans."""
        with self._lock:
            if not self._failing:
                return
            self._failing = False
            lost, self._lost = self._lost, 0
        _log.info("spans_sent_again", lost=lost)


class CollectorExporter(SpanExporter):
    """OpenTelemetry's exporter, which reports what it could not send.

    Parameters: endpoint, the URL of the collector. Headers and certificates are those of the variables of
    OpenTelemetry.
    """

    def __init__(self, endpoint: str, losses: LossLog) -> None:
        self._losses = losses
        self._session = CollectorSession()
        self._exporter = OTLPSpanExporter(endpoint, timeout=_REQUEST_SECONDS, session=self._session)
        _quiet()  # after what OpenTelemetry says of its variables
        self.taken = 0
        """Spans that left the queue."""
        self.settled = 0
        """Those of them that were sent or are lost."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans.

        It blocks for about five seconds at most, or longer if the head of the response arrives in pieces.
        """
        self.taken += len(spans)
        self._session.failure = ""
        try:
            result = self._exporter.export(spans)
        except Exception as error:
            self._losses.lost(len(spans), type(error).__name__)
            raise
        finally:
            self.settled += len(spans)
        if result is SpanExportResult.SUCCESS:
            self._losses.sent()
        else:
            self._losses.lost(len(spans), self._session.failure or "not encoded")
        return result

    def shutdown(self) -> None:
        """Close the connections."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


def refusal_of(endpoint: str) -> str:
    """Send an empty message; return why the collector did not take it, empty if it did. Blocks."""
    _quiet()
    session = CollectorSession()
    exporter = OTLPSpanExporter(endpoint, timeout=_REQUEST_SECONDS, session=session)
    try:
        result = exporter.export(())
    finally:
        exporter.shutdown()  # type: ignore[no-untyped-call]
    return "" if result is SpanExportResult.SUCCESS else session.failure or "not encoded"
