"""docs/reference/http.md lists the existing URLs, methods and errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from tornado.httputil import HTTPHeaders
from tornado.routing import URLSpec
from tornado.web import Application, RequestHandler

from portal.errors import ConfigurationError, PortalError, StartupError
from portal.oidc.errors import ProviderDenied
from portal.routes import dispatcher, routes
from portal.web.admin.base import AdminHandler
from portal.web.api_proxy.admission import _METHODS
from portal.web.api_proxy.handler import ApiServer
from portal.web.context import Portal
from portal.web.forward_auth.handler import AuthzServer
from portal.web.not_found import NotFoundHandler
from portal.web.step_up_errors import StepUpFailed, StepUpRequired

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "http.md").read_text()
ADDRESSES = {
    path: methods.split(", ")
    for path, methods in re.findall(r"^\| `(/[^`]*)` \| ([A-Z, ]+) \|", PAGE, re.MULTILINE)
}
ROUTES: dict[str, type[Any]] = {
    re.sub(r"\(\?P<([a-z]+)>[^)]*\)", r"{\1}", rule.regex.pattern.removesuffix("$")).replace("\\", ""): (
        rule.target
    )
    for rule in routes()
    if isinstance(rule, URLSpec)
    and rule.target is not NotFoundHandler
    and not issubclass(rule.target, AdminHandler)
}
API = "/t/{tenant}/api/…"
AUTHZ = "/t/{tenant}/authz"
CONSOLE = "/admin/…"
"""docs/reference/console.md has its addresses."""


def test_the_documented_urls_are_those_of_the_portal() -> None:
    assert set(ADDRESSES) == {*ROUTES, API, AUTHZ, CONSOLE, "/static/…"}


def test_the_documented_url_of_the_api_reaches_the_api() -> None:
    routing = dispatcher(cast(Portal, None), Application())
    target = API.replace("{tenant}", "acme").replace("…", "orders")
    assert isinstance(routing.delegate_for(target, HTTPHeaders({"Host": "portal.example"})), ApiServer)
    assert set(ADDRESSES[API]) == _METHODS


def test_the_documented_url_of_forward_authentication_reaches_it() -> None:
    routing, headers = dispatcher(cast(Portal, None), Application()), HTTPHeaders({"Host": "portal.example"})
    target = AUTHZ.replace("{tenant}", "acme")
    for found in (target, f"{target}?x", f"{target}/desk/"):
        assert isinstance(routing.delegate_for(found, headers), AuthzServer)
    for other in (f"{target}x", "/t/acme/", "/t/Acme/authz", "/authz"):
        assert not isinstance(routing.delegate_for(other, headers), AuthzServer)
    assert ADDRESSES[AUTHZ] == ["GET"]


@pytest.mark.parametrize("address", ROUTES)
def test_the_documented_methods_of_a_url_are_those_of_its_handler(address: str) -> None:
    handler = ROUTES[address]
    own = {
        method
        for method in RequestHandler.SUPPORTED_METHODS
        if getattr(handler, method.lower()) is not getattr(RequestHandler, method.lower())
    }
    if "GET" not in own:
        own.discard("HEAD")  # that of pages calls `get`, and has 405 like it
    assert set(ADDRESSES[address]) == own


def test_every_url_in_the_text_is_documented() -> None:
    named = set(re.findall(r"(?:GET|POST) (/[^\s`?]*)", PAGE))
    assert named <= set(ADDRESSES)
    for path in set(re.findall(r"\"(/t/acme/[a-z-]+|/session)\"", PAGE)):
        assert path.replace("acme", "{tenant}") in ADDRESSES or path == "/t/acme/api"


ERRORS = {
    *("portal.errors", "portal.oidc.errors", "portal.oidc.step_up_errors", "portal.oidc.api_errors"),
    "portal.web.step_up_errors",
    "portal.web.forward_auth.errors",
    "portal.sessions.revoked_users",
    *(f"portal.web.front_ends.{module}" for module in ("conditions", "development", "files")),
}
SEVERAL_STATUSES = {
    ProviderDenied.code: "400 to 503",
    StepUpRequired.code: "401, 403",
    StepUpFailed.code: "401, 403",
}


def test_every_error_is_documented_with_its_status() -> None:
    written = dict(re.findall(r"^\| `([a-z_]+)` \| ([0-9][^|]*) \|", PAGE, re.MULTILINE))
    # Errors of the command line, which never occur in HTTP responses.
    kinds = [
        kind for kind in kinds_of(PortalError) if not issubclass(kind, ConfigurationError | StartupError)
    ]
    assert written == {kind.code: SEVERAL_STATUSES.get(kind.code, str(kind.status)) for kind in kinds}


def kinds_of(kind: type[PortalError]) -> Iterator[type[PortalError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ in ERRORS:
            yield from kinds_of(below)
