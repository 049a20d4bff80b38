"""Calls a tenant's API with the login's access token; once more with a new one when the API says 401."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tornado.httputil import HTTPHeaders

from portal.errors import OutboundFailed, OutboundTimeout, UpstreamTimeout, UpstreamUnavailable
from portal.oidc.http import OutboundStream
from portal.oidc.secret import Secret
from portal.sessions.model import Login
from portal.tenancy.model import Api
from portal.web.context import Portal
from portal.web.proxy_rules import request_headers


class UpstreamCall:
    """One request to an API, made of a browser's."""

    def __init__(
        self,
        portal: Portal,
        login: Login,
        api: Api,
        *,
        method: str,
        target: str,
        headers: HTTPHeaders,
        request_id: str,
    ) -> None:
        self._portal = portal
        self._login = login
        self._method = method
        self.api = api
        self.target = target
        self._headers = headers
        self._request_id = request_id

    async def send(self, body: bytes) -> OutboundStream:
        """Send a body that can be replayed, and return the API's answer.

        Raises UpstreamUnavailable, and what SessionService.tokens raises.
        """
        tokens = await self._portal.sessions.tokens(self._login)
        answer = await self._open(tokens.access_token, body or None)
        if answer.status != 401:
            return answer
        try:
            again = await self._portal.sessions.tokens(self._login, refused=tokens.access_token)
        except BaseException:
            await answer.aclose()
            raise
        if again.access_token == tokens.access_token:
            return answer
        await answer.aclose()
        return await self._open(again.access_token, body or None)

    async def stream(self, body: AsyncIterator[bytes], *, length: int | None) -> OutboundStream:
        """Send a body that passes through once; `length` in bytes when the browser said it."""
        tokens = await self._portal.sessions.tokens(self._login)
        return await self._open(tokens.access_token, body, length=length)

    async def _open(
        self, access_token: Secret, body: bytes | AsyncIterator[bytes] | None, *, length: int | None = None
    ) -> OutboundStream:
        headers = request_headers(
            self._headers, access_token=access_token.reveal(), request_id=self._request_id
        )
        if length is not None:
            headers.append(("Content-Length", str(length)))
        try:
            answer = await self._portal.http.open_stream(
                self._method, self.target, headers=headers, body=body
            )
        except OutboundTimeout as error:
            raise UpstreamTimeout(error.detail) from error
        except OutboundFailed as error:
            raise UpstreamUnavailable(error.detail) from error
        if not 200 <= answer.status <= 599:
            await answer.aclose()
            raise UpstreamUnavailable(f"the API answered with the status {answer.status}")
        return answer
