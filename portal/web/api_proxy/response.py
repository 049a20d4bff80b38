"""Headers of responses at `/t/{tenant}/api/…`, for API responses and the portal's own problems."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import urlencode

from tornado import httputil

from portal.errors import LoginRequired, PortalError, UpstreamUnavailable
from portal.oidc.errors import RefreshRejected
from portal.web.api_proxy.rules import RESPONSE_HEADERS
from portal.web.problems import PROBLEM_HEADERS, problem


class ResponseHeaders(httputil.HTTPHeaders):
    """The headers of one response, followed by `RESPONSE_HEADERS` (see http_exchange.py: EncodedHeaders)."""

    encoded = "".join(f"{name}: {value}\r\n" for name, value in RESPONSE_HEADERS).encode("ascii")

    def get_others(self) -> Iterable[tuple[str, str]]:
        return super().get_all()

    def get_all(self) -> Iterator[tuple[str, str]]:
        yield from super().get_all()
        yield from RESPONSE_HEADERS

    def add_checked(self, name: str, value: str) -> None:
        """Add a header that an API sent. Raises UpstreamUnavailable when it is not a valid header."""
        try:
            self.add(name, value)
        except httputil.HTTPInputError as error:
            raise UpstreamUnavailable("a header of the API's response has invalid characters") from error


def problem_response(error: PortalError, *, request_id: str, slug: str) -> tuple[ResponseHeaders, bytes]:
    """Return headers and body of an error. `login_url` is where a page can sign in again."""
    more: dict[str, object] = {}
    if isinstance(error, LoginRequired | RefreshRejected):
        more["login_url"] = f"/t/{slug}/login?{urlencode({'return_to': f'/t/{slug}/'})}"
    body = problem(error, request_id, **more).encode()
    headers = ResponseHeaders({**dict(PROBLEM_HEADERS), "Content-Length": str(len(body))})
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return headers, body
