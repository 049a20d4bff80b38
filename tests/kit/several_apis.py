"""Several APIs of Acme, each with an audience of its own, which record the access tokens that they get."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from tests.kit.faulty.provider import FaultyProvider
from tests.kit.world import World

NAMES = ("billing", "catalog", "stock")


def audience(name: str) -> str:
    """The audience of an API."""
    return f"https://{name}.acme.example"


@dataclass(frozen=True, slots=True)
class Call:
    """A call that reached an API."""

    api: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def token(self) -> str:
        """The access token; empty without one."""
        return self.headers.get("Authorization", "").partition(" ")[2]

    @property
    def audiences(self) -> list[str]:
        """`aud` of the access token."""
        return audiences_of(self.token)


@dataclass
class RecordingApis:
    """APIs at `{url}/{name}`. `refuses` has access tokens that get a 401."""

    url: str
    calls: list[Call] = field(default_factory=list)
    refuses: set[str] = field(default_factory=set)
    needs: dict[str, str] = field(default_factory=dict)
    """The scope that an access token must have, by the name of the API."""
    response_headers: dict[str, str] = field(default_factory=dict)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at the end; `{url}/{name}/stream` sends a first chunk and waits for it."""

    def of(self, name: str) -> list[Call]:
        """The calls of one API."""
        return [call for call in self.calls if call.api == name]


def audiences_of(token: str) -> list[str]:
    """`aud` of a JWT."""
    aud = _claims_of(token)["aud"]
    return aud if isinstance(aud, list) else [aud]


def scopes_of(token: str) -> list[str]:
    """The scopes of a JWT."""
    scope: str = _claims_of(token).get("scope", "")
    return scope.split()


def _claims_of(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


class _Handler(RequestHandler):
    apis: RecordingApis

    def initialize(self, apis: RecordingApis) -> None:
        self.apis = apis

    def check_xsrf_cookie(self) -> None:
        """An API has no cookies."""

    async def get(self, name: str) -> None:
        call = Call(name, dict(self.request.headers.get_all()), self.request.body)
        self.apis.calls.append(call)
        if call.token in self.apis.refuses:
            self.set_status(401)
        needed = self.apis.needs.get(name)
        if needed is not None and needed not in scopes_of(call.token):
            self.set_status(403)
            self.set_header("WWW-Authenticate", f'Bearer error="insufficient_scope", scope="{needed}"')
        for header, value in self.apis.response_headers.items():
            self.set_header(header, value)
        if not self.request.path.endswith("/stream"):
            self.finish({"api": name})
            return
        self.write("first")
        await self.flush()
        await self.apis.closed.wait()

    post = get


@contextlib.asynccontextmanager
async def recording_apis() -> AsyncIterator[RecordingApis]:
    """Serve APIs while the block runs."""
    sockets = bind_sockets(0, address="127.0.0.1")
    apis = RecordingApis(f"http://127.0.0.1:{sockets[0].getsockname()[1]}")
    server = HTTPServer(Application([(r"/([a-z]+)/.*", _Handler, {"apis": apis})]))
    server.add_sockets(sockets)
    try:
        yield apis
    finally:
        apis.closed.set()
        server.stop()
        await server.close_all_connections()


def write_apis(
    tenants: Path, apis: Mapping[str, Mapping[str, object]], *, tenant: str = "acme", **changes: Any
) -> None:
    """Replace `apis` of a tenant file. Parameters: changes, other keys; None removes one."""
    path = tenants / f"{tenant}.yaml"
    document = yaml.safe_load(path.read_text()) | {"apis": {name: dict(one) for name, one in apis.items()}}
    for key, value in changes.items():
        document[key] = value
        if value is None:
            del document[key]
    path.write_text(yaml.safe_dump(document))


def use_apis(world: World, apis: Mapping[str, Mapping[str, object]], **changes: Any) -> None:
    """Serve Acme with these APIs."""
    write_apis(world.parts.tenants_folder, apis, **changes)
    world.running.portal.registry.load()
    live = world.running.portal.registry.get("acme")
    assert live is not None
    assert live.apis.keys() == apis.keys(), "the tenant file was refused"


def allow_audiences(provider: FaultyProvider, *names: str) -> None:
    """Let the portal's client request access tokens for these APIs."""
    [client] = provider.settings.clients
    more = tuple(audience(name) for name in names)
    provider.settings = replace(
        provider.settings, clients=(replace(client, audiences=(*client.audiences[:1], *more)),)
    )
