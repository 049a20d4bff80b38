"""The short way to the handlers of a login leads where Tornado's routes lead."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.web import Application

from portal.routes import PortalApplication, routes


def found(application: Application, path: str) -> tuple[object, object, object]:
    start_line = RequestStartLine("GET", path, "HTTP/1.1")
    request = HTTPServerRequest(
        start_line=start_line, headers=HTTPHeaders({"Host": "localhost"}), connection=Mock()
    )
    delegate = application.find_handler(request)
    return delegate.handler_class, delegate.path_args, delegate.path_kwargs


@pytest.mark.parametrize(
    "path",
    [
        "/t/acme/login",
        "/t/acme/login?return_to=/t/acme/callback",
        "/t/acme/callback",
        "/t/acme/callback?code=1&state=2",
        f"/t/{'a' * 63}/login",
        f"/t/{'a' * 64}/login",
        "/t/Acme/login",
        "/t/-acme/login",
        "/t//login",
        "/t/acme/login/",
        "/t/acme/login%0a",
        "/t/acme/callback/other",
        "/t/acme/callback/",
        "/t/acme/logins",
        "/t/acme/initiate-login",
        "/t/acme/",
        "/x/t/acme/login",
        "/",
    ],
)
def test_every_path_has_the_handler_of_its_route(path: str) -> None:
    assert found(PortalApplication(routes()), path) == found(Application(routes()), path)
