"""A backend for the browser as a tutorial would write it: Starlette, Authlib and httpx.

The browser has a signed cookie with a session id; tokens are in memory.
"""

from __future__ import annotations

import os
import secrets
from typing import Any

import httpx
from authlib.integrations.starlette_client import OAuth
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

API = os.environ["API"]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
NOT_FORWARDED = {"host", "cookie", "authorization", "connection", "keep-alive", "transfer-encoding"}
TOKENS: dict[str, dict[str, Any]] = {}

oauth = OAuth()
oauth.register(
    "provider",
    server_metadata_url=f"{os.environ['ISSUER']}/.well-known/openid-configuration",
    client_id=os.environ["CLIENT_ID"],
    client_secret=os.environ["CLIENT_SECRET"],
    client_kwargs={"scope": "openid profile email", "code_challenge_method": "S256"},
)
client = httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=100))


async def login(request: Request) -> Response:
    response: Response = await oauth.provider.authorize_redirect(request, str(request.url_for("callback")))
    return response


async def callback(request: Request) -> Response:
    tokens = await oauth.provider.authorize_access_token(request)
    request.session.clear()
    request.session["id"] = session = secrets.token_urlsafe(24)
    TOKENS[session] = tokens
    return RedirectResponse("/", 303)


async def home(request: Request) -> Response:
    return PlainTextResponse("signed in" if request.session.get("id") in TOKENS else "signed out")


async def call_api(request: Request) -> Response:
    tokens = TOKENS.get(request.session.get("id", ""))
    if tokens is None:
        return JSONResponse({"error": "not_signed_in"}, 401)
    headers = {name: value for name, value in request.headers.items() if name not in NOT_FORWARDED}
    headers["Authorization"] = f"Bearer {tokens['access_token']}"
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    forwarded = client.build_request(
        request.method,
        f"{API}/{request.path_params['path']}",
        params=request.query_params,
        headers=headers,
        content=request.stream() if has_body else None,
    )
    response = await client.send(forwarded, stream=True)
    passed = {name: value for name, value in response.headers.items() if name not in NOT_FORWARDED}
    return StreamingResponse(
        response.aiter_raw(), response.status_code, passed, background=BackgroundTask(response.aclose)
    )


app = Starlette(
    routes=[
        Route("/", home),
        Route("/login", login),
        Route("/callback", callback, name="callback"),
        Route("/api/{path:path}", call_api, methods=METHODS),
    ],
    middleware=[Middleware(SessionMiddleware, secret_key=secrets.token_urlsafe(32))],
)
