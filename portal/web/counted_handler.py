"""The base class of handlers: a request's id, and where a request is counted, logged and traced."""

from __future__ import annotations

import secrets
from functools import cached_property

import structlog

from portal.traces import Span, current_span
from portal.web.client_address import client_address
from portal.web.context import Portal
from portal.web.cookie_reading import CookieReading
from portal.web.logged_path import logged_path
from portal.web.request_spans import begin_span, end_span, route_of


class CountedHandler(CookieReading):
    """A handler whose requests are counted while they run, and logged when they end."""

    request_id = ""
    _counted = False
    _span: Span | None = None

    @cached_property
    def portal(self) -> Portal:
        """The services that handlers use."""
        portal: Portal = self.application.settings["portal"]
        return portal

    def assign_request_id(self) -> None:
        """Assign the request id; it stays the same when an error replaces the response."""
        self.request_id = self.request_id or secrets.token_hex(8)
        self.set_header("X-Request-Id", self.request_id)
        self.clear_header("Server")

    def count(self) -> None:
        """Begin to count the request; its log lines have its id, its steps are part of its trace."""
        self.portal.in_flight.begin()
        self._counted = True
        if self.portal.in_flight.draining:
            self.set_header("Connection", "close")
        structlog.contextvars.bind_contextvars(request_id=self.request_id)
        if self.portal.traces is not None:
            self._span = begin_span(
                *(self.portal, self.request.remote_ip or "", self.request.headers),
                *(self.request.method or "", self.request_id),
            )
            current_span.set(self._span)

    def client_address(self) -> str:
        """The address of the client, as seen through trusted proxies."""
        return client_address(
            self.request.remote_ip or "",
            self.request.headers.get("X-Forwarded-For", ""),
            self.portal.settings.trusted_proxies,
        )

    def on_finish(self) -> None:
        if self._counted:
            self._counted = False
            self.portal.in_flight.end()
        if self._span is not None:
            end_span(
                self.portal,
                self._span,
                self.get_status(),
                route=route_of(self.settings.get("patterns", {}), type(self), self.request.path),
                tenant=getattr(self, "path_kwargs", {}).get("tenant") or "",
            )
        self.portal.access_log.write(
            method=self.request.method or "",
            path=logged_path(self.request.path),
            status=self.get_status(),
            milliseconds=round(self.request.request_time() * 1000, 1),
            client=self.client_address(),
            request_id=self.request_id,
        )
