"""Finds the handler of a request to a front end."""

from __future__ import annotations

from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.web import Application

from portal.web.context import Portal
from portal.web.front_ends.development import DevelopmentHandler
from portal.web.front_ends.development_socket import DevelopmentSocket
from portal.web.front_ends.handler import FrontEndHandler
from portal.web.websocket.handshake import asks_for_websocket


def front_end_delegate(application: Application, request: HTTPServerRequest) -> HTTPMessageDelegate | None:
    """Return what handles a request to a front end; None when no front end has the address."""
    portal: Portal | None = application.settings.get("portal")  # none in an application of routes alone
    target = portal.front_ends.find(portal.sites.find(request.host), request.path) if portal else None
    if portal is None or target is None:
        return None
    connection = request.connection
    if target.front_end.url and connection is not None and asks_for_websocket(request.headers):
        return DevelopmentSocket(portal, connection, request, target)
    handler = FrontEndHandler if target.front_end.url is None else DevelopmentHandler
    return application.get_handler_delegate(request, handler, target_kwargs={"target": target})
