"""A script in place of a browser that signs in: it follows redirects and keeps cookies."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from email.message import Message
from urllib.parse import urljoin, urlsplit

_MOST_STEPS = 12
_NAVIGATION = {
    "Accept": "text/html",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "none",
    "User-Agent": "Mozilla/5.0 (bench)",
}
"""Headers of a page that the user opens (Fetch Metadata 2)."""


class SignInFailed(Exception):
    """The redirects of a sign-in did not end at the product with a cookie."""


class SignInScript:
    """Signs in again and again, each time as a browser without cookies, over connections that stay open."""

    def __init__(self, provider: str) -> None:
        self._provider = urlsplit(provider).netloc
        self._connections: dict[str, http.client.HTTPConnection] = {}

    def sign_in(self, url: str) -> str:
        """Open this page of a product, follow the redirects through the provider and back.

        Returns the value of the header Cookie for requests to the product. Raises SignInFailed.
        """
        cookies: dict[str, str] = {}
        product, passed_provider = urlsplit(url).netloc, False
        for _ in range(_MOST_STEPS):
            here = urlsplit(url).netloc
            status, headers = self._get(url, cookies if here == product else {})
            if here == product:
                keep_cookies(cookies, headers)
                if passed_provider:
                    break
            passed_provider = passed_provider or here == self._provider
            if status not in (302, 303, 307):
                raise SignInFailed(f"{url} responded with {status}")
            url = urljoin(url, headers["Location"])
        if not passed_provider or status >= 400 or not cookies:
            raise SignInFailed(f"{url} responded with {status}")
        return "; ".join(f"{name}={value}" for name, value in cookies.items())

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def _get(self, url: str, cookies: Mapping[str, str]) -> tuple[int, Message]:
        parts = urlsplit(url)
        connection = self._connections.setdefault(
            parts.netloc, http.client.HTTPConnection(parts.netloc, timeout=30)
        )
        headers = dict(_NAVIGATION)
        if cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request("GET", target or "/", headers=headers)
            response = connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):  # it was closed while idle
            connection.close()
            connection.request("GET", target or "/", headers=headers)
            response = connection.getresponse()
        response.read()
        return response.status, response.headers


def keep_cookies(cookies: dict[str, str], headers: Message) -> None:
    """Apply Set-Cookie fields (RFC 6265 5.3); an empty value, Max-Age=0 or the year 1970 removes a cookie."""
    for field in headers.get_all("Set-Cookie", []):
        pair, _, attributes = field.partition(";")
        name, _, value = pair.strip().partition("=")
        if not value.strip('"') or "max-age=0" in attributes.lower().replace(" ", "") or "1970" in attributes:
            cookies.pop(name, None)
        else:
            cookies[name] = value
