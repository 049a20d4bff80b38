"""Requests that are handled below Tornado's RequestHandler: see docs/decisions/009."""

from __future__ import annotations

import random
import secrets
from abc import abstractmethod
from typing import cast

from tornado import httputil
from tornado.http1connection import HTTP1Connection

from portal.web.context import Portal


class ExchangeServer(httputil.HTTPServerConnectionDelegate):
    """Makes an exchange for each request, with an id for log lines and errors. routes.py installs it."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._ids = random.Random(secrets.randbits(256))  # noqa: S311 - ids of log lines, no secrets

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        return self.exchange(cast(HTTP1Connection, request_conn), f"{self._ids.getrandbits(64):016x}")

    @abstractmethod
    def exchange(self, connection: HTTP1Connection, request_id: str) -> httputil.HTTPMessageDelegate:
        """Return what handles one request and responds to it."""
