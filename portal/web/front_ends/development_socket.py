"""The hot-reload WebSocket of a development server on this machine."""

from __future__ import annotations

import asyncio
import secrets
import time
from http.client import responses

from tornado import httputil
from tornado.httputil import HTTPServerRequest
from tornado.iostream import StreamClosedError

from portal.errors import CrossSiteRequest, OutboundFailed, PortalError
from portal.web.api_proxy.call_headers import socket_refusal
from portal.web.api_proxy.response import problem_response
from portal.web.client_address import client_address
from portal.web.context import Portal
from portal.web.front_ends.development import DevelopmentServerUnavailable, development_url, requested_target
from portal.web.front_ends.service import FrontEndTarget
from portal.web.problems import log_failure
from portal.web.server.client_connection import abort
from portal.web.server.http_exchange import HttpExchange
from portal.web.websocket.serving import relay_to


class DevelopmentSocket(httputil.HTTPMessageDelegate):
    """One WebSocket, from its request on. Parameters: target, from `FrontEnds.find`."""

    def __init__(
        self,
        portal: Portal,
        connection: httputil.HTTPConnection,
        request: HTTPServerRequest,
        target: FrontEndTarget,
    ) -> None:
        self._portal = portal
        self._connection = connection
        self._request = request
        self._target = target
        self._request_id = secrets.token_hex(8)
        self._begun = time.perf_counter()
        self._status = 101
        self._task: asyncio.Task[None] | None = None

    def finish(self) -> None:
        """Handle the end of the request."""
        self._portal.in_flight.begin()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def on_connection_close(self) -> None:
        """The browser disconnected before its socket was open."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            await self._serve()
        except StreamClosedError:
            return  # the browser disconnected
        except PortalError as error:
            self._refuse(error)
        except Exception as error:  # noqa: BLE001 - nobody awaits this task
            log_failure(error, error.__traceback__, path=self._request.path)
            abort(self._connection)
        finally:
            self._portal.in_flight.end()
            self._write_log()

    async def _serve(self) -> None:
        request, connection = self._request, self._connection
        site = self._portal.sites.find(request.host)
        refusal = socket_refusal(request.headers, site)
        if refusal is not None:
            raise CrossSiteRequest(refusal)
        url = development_url(self._target.front_end, site, request)
        if isinstance(connection, HttpExchange):
            connection.set_close_callback(self.on_connection_close)
        try:
            refused = await relay_to(
                f"{url}{requested_target(request)}",
                connection,
                self._portal.front_ends.development_client,
                self._portal.sockets,
                request_id=self._request_id,
            )
        except OutboundFailed as error:
            raise DevelopmentServerUnavailable(error.detail, url=url) from error
        if refused is not None:
            await refused.aclose()
            raise DevelopmentServerUnavailable(f"it refused the WebSocket: {refused.status}", url=url)

    def _refuse(self, error: PortalError) -> None:
        log_failure(error, error.__traceback__, path=self._request.path)
        headers, body = problem_response(error, request_id=self._request_id, slug="")
        headers["Connection"] = "close"
        self._status = error.status
        start_line = httputil.ResponseStartLine("HTTP/1.1", error.status, responses.get(error.status, ""))
        self._connection.write_headers(start_line, headers, body)
        self._connection.finish()

    def _write_log(self) -> None:
        trusted = self._portal.settings.trusted_proxies
        forwarded_for = self._request.headers.get("X-Forwarded-For", "")
        self._portal.access_log.write(
            method=self._request.method or "",
            path=self._request.path,
            status=self._status,
            milliseconds=round((time.perf_counter() - self._begun) * 1000, 1),
            client=client_address(self._request.remote_ip or "", forwarded_for, trusted),
            request_id=self._request_id,
        )
