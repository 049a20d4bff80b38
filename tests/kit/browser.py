"""A simple headless browser: stores cookies, follows redirects, fills in forms, sends Fetch Metadata."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from urllib.parse import urlencode, urljoin, urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httputil import HTTPHeaders
from tornado.simple_httpclient import SimpleAsyncHTTPClient


@dataclass
class Form:
    action: str
    method: str = "GET"
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[Form] = []
        self.links: list[str] = []
        self._form: Form | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = Form(given.get("action", ""), given.get("method", "GET").upper())
            self.forms.append(self._form)
        elif tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif self._form is not None and tag in {"input", "textarea", "select", "button"}:
            name = given.get("name", "")
            if tag == "button" or given.get("type") == "submit":
                self._form.buttons.append((name, given.get("value", "")))
            elif name and (given.get("type") not in {"checkbox", "radio"} or "checked" in given):
                self._form.fields.append((name, given.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None


@dataclass
class Response:
    """The response after all redirects; `trail` contains every requested URL."""

    url: str = field(repr=False)
    status: int
    headers: HTTPHeaders = field(repr=False)
    body: bytes = field(repr=False)
    trail: list[str] = field(repr=False)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @functools.cached_property
    def forms(self) -> list[Form]:
        parser = _Forms()
        parser.feed(self.text)
        return parser.forms

    @functools.cached_property
    def links(self) -> list[str]:
        parser = _Forms()
        parser.feed(self.text)
        return parser.links

    def form(self, action_part: str) -> Form:
        """Return the form with this action, otherwise the first whose action contains `action_part`."""
        for form in sorted(self.forms, key=lambda form: form.action != action_part):
            if action_part in form.action:
                return form
        raise AssertionError(f"no form for {action_part!r} at {urlsplit(self.url).path}: {self.text[:2000]}")


def origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class Browser:
    """One browser. Cookies belong to a host name, independent of the port, as in real browsers."""

    def __init__(self) -> None:
        self.cookies: dict[str, dict[str, str]] = {}
        self.cross_site: set[tuple[str, str]] = set()
        """Host and name of cookies that are sent with forms of other sites (SameSite=None)."""
        self.page: Response | None = None
        self._client = AsyncHTTPClient(force_instance=True, max_clients=300, max_body_size=300 * 1024 * 1024)
        assert isinstance(self._client, SimpleAsyncHTTPClient)

    async def open(self, url: str) -> Response:
        """Enter a URL in the address bar: a navigation without an initiator."""
        return await self._navigate(url, "GET", None, site="none")

    async def click(self, href: str) -> Response:
        """Follow a link of the current page."""
        assert self.page is not None
        url = urljoin(self.page.url, href)
        return await self._navigate(url, "GET", None, site=self._site(url))

    async def submit(self, form: Form, values: Mapping[str, str] | None = None, button: str = "") -> Response:
        """Submit a form of the current page; `button` is the name of the pressed button."""
        assert self.page is not None
        url = urljoin(self.page.url, form.action)
        values = values or {}
        fields = [pair for pair in form.fields if pair[0] not in values] + list(values.items())
        if button:
            fields.append(next(pair for pair in form.buttons if pair[0] == button))
        if form.method == "GET":
            return await self._navigate(f"{url}?{urlencode(fields)}", "GET", None, site=self._site(url))
        referer = (
            self.page.url if origin(self.page.url) == origin(url) else ""
        )  # Referrer-Policy: same-origin
        return await self._navigate(url, "POST", urlencode(fields), site=self._site(url), referer=referer)

    async def fetch(
        self,
        url: str,
        method: str = "GET",
        *,
        headers: Mapping[str, str] | None = None,
        body: str | bytes | None = None,
        site: str | None = "same-origin",
        csrf: bool = True,
    ) -> Response:
        """Send a request as a script of the portal's page would, without following redirects."""
        sent = {"Sec-Fetch-Site": site} if site else {}
        if csrf:
            sent["X-Portal-CSRF"] = "1"
        return await self._request(url, method, body, {**sent, **(headers or {})}, [])

    async def step(
        self, url: str, method: str = "GET", body: str | None = None, site: str = "none"
    ) -> Response:
        """Navigate without following redirects."""
        return await self._request(url, method, body, {"Sec-Fetch-Site": site, "Accept": "text/html"}, [])

    def cookie(self, host: str, name: str) -> str | None:
        return self.cookies.get(host, {}).get(name)

    def close(self) -> None:
        self._client.close()

    def _cross_site_cookies(self, url: str) -> str:
        """The Cookie header for a form of another site: only SameSite=None cookies."""
        host = urlsplit(url).hostname or ""
        jar = self.cookies.get(host, {})
        return "; ".join(f"{name}={jar[name]}" for name in jar if (host, name) in self.cross_site)

    def _note_site(self, host: str, name: str, same_site: str, *, secure: bool) -> None:
        self.cross_site.discard((host, name))
        if same_site.lower() == "none":
            assert secure, "browsers refuse SameSite=None without Secure"
            self.cross_site.add((host, name))

    def _site(self, url: str) -> str:
        assert self.page is not None
        return "same-origin" if origin(url) == origin(self.page.url) else "cross-site"

    async def _navigate(
        self, url: str, method: str, body: str | None, *, site: str, referer: str = ""
    ) -> Response:
        trail: list[str] = []
        for _ in range(20):
            headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Accept": "text/html"}
            if site == "cross-site" and method not in {"GET", "HEAD"}:
                headers["Cookie"] = self._cross_site_cookies(url)
            if referer:
                headers["Referer"] = referer
            response = await self._request(url, method, body, headers, trail)
            location = response.headers.get("Location")
            if response.status not in {301, 302, 303, 307, 308} or not location:
                self.page = response
                return response
            following = urljoin(url, location)
            if site != "none" and origin(following) != origin(url):
                site = "cross-site"
            url = following
            if response.status not in {307, 308}:
                method, body = "GET", None
        raise AssertionError(f"too many redirects: {[urlsplit(step).path for step in trail]}")

    async def _request(
        self, url: str, method: str, body: str | bytes | None, headers: Mapping[str, str], trail: list[str]
    ) -> Response:
        host = urlsplit(url).hostname or ""
        sent = dict(headers)
        jar = self.cookies.setdefault(host, {})
        if jar and "Cookie" not in sent:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in jar.items())
        if isinstance(body, str) and "Content-Type" not in sent:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        trail.append(url)
        response = await self._client.fetch(
            HTTPRequest(
                url,
                method=method,
                headers=sent,
                body=body,
                follow_redirects=False,
                allow_nonstandard_methods=True,
                request_timeout=30,
                connect_timeout=10,
                decompress_response=False,
            ),
            raise_error=False,
        )
        if response.code == 599:
            raise ConnectionError(f"no response from {origin(url)}: {response.error}")
        for header in response.headers.get_list("Set-Cookie"):
            for name, morsel in SimpleCookie(header).items():
                expired = morsel["max-age"] == "0" or "1970" in morsel["expires"] or not morsel.value
                past = morsel["expires"] and not morsel["max-age"] and not morsel.value
                if expired or past:
                    jar.pop(name, None)
                else:
                    jar[name] = morsel.value
                    self._note_site(host, name, morsel["samesite"], secure=bool(morsel["secure"]))
        return Response(url, response.code, response.headers, response.body or b"", trail)
