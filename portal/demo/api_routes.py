"""The addresses of a sample API."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from tornado.web import Application, RequestHandler

from portal.demo.api import SampleApi
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

_log = logging.getLogger(__name__)

ApiRoutes = Iterable[tuple[str, type[ApiHandler]]]


def api_routes(api: SampleApi) -> ApiRoutes:
    """The routes: path (a regular expression) → handler. The first match wins."""
    base = re.escape(api.settings.base_path)
    collection = "(" + "|".join(api.records.names) + ")"
    return (
        (f"{base}/{collection}", CollectionHandler),
        (f"{base}/{collection}/([^/]+)", RecordHandler),
        (f"{base}/secrets", SecretsHandler),
        (f"{base}/echo(?:/.*)?", EchoHandler),
        (f"{base}/stream", StreamHandler),
        (f"{base}/download", DownloadHandler),
        (f"{base}/files", FilesHandler),
        (f"{base}/events", EventsHandler),
        (f"{base}/live", LiveHandler),
        (f"{base}(?:/.*)?", NotFoundHandler),
    )


def api_application(api: SampleApi, routes: ApiRoutes | None = None) -> Application:
    """The API as a Tornado application."""
    routes = api_routes(api) if routes is None else routes
    return Application([(path, handler, {"api": api}) for path, handler in routes], log_function=_log_request)


def _log_request(handler: RequestHandler) -> None:
    _log.debug("%s %s %s", handler.get_status(), handler.request.method, handler.request.path)
