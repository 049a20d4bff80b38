"""THREATS S9: no token, code, cookie or client secret ever appears in a sink.

The sinks are log lines at level debug, pages, every header except Set-Cookie, and URLs of the portal's pages.
A provider's URL is not a sink: the login needs `state` there, and the logout `id_token_hint`.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, quote, quote_plus, unquote, urlencode, urljoin, urlsplit

import pytest

from portal.keys.key_ring import KeyRing
from portal.stores.model import SessionTouch
from tests.kit.browser import Browser, Response, origin
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.faulty.endpoints import Response as Canned
from tests.kit.faulty.provider import FaultyProvider
from tests.kit.processes import world_outside
from tests.kit.raw import change_tenant, raw_api
from tests.kit.world import World

_PARAMETERS = ("state", "nonce", "code", "code_verifier", "refresh_token", "client_secret", "token")


class WatchedBrowser(Browser):
    """Records every response of the portal and every cookie it received."""

    def __init__(self, portal: str) -> None:
        super().__init__()
        self.portal = portal
        self.responses: list[Response] = []
        self.cookie_values: set[str] = set()

    async def _request(
        self, url: str, method: str, body: str | bytes | None, headers: Mapping[str, str], trail: list[str]
    ) -> Response:
        response = await super()._request(url, method, body, headers, trail)
        if origin(url) == self.portal:
            self.responses.append(response)
            for name, value in self.cookies["localhost"].items():
                if name != "portal-xsrf":  # in every form, and useless by itself
                    self.cookie_values |= {value, *value.split(".")}
        return response


def watched(world: World) -> WatchedBrowser:
    browser = WatchedBrowser(world.url)
    world.browsers.append(browser)
    return browser


def secrets_of(world: World) -> dict[str, str]:
    """Every secret and its kind; also URL-encoded, in base64 and in a Basic header."""
    found: dict[str, str] = {}
    for provider in (world.acme, world.globex):
        found |= dict.fromkeys(provider.state.issued, "issued by a provider")
        for request in provider.received:
            for name in _PARAMETERS:
                found |= dict.fromkeys(request.parameters.get(name, ()), name)
        client = provider.settings.clients[0]
        secret = str(client.client_secret)
        pair = f"{quote_plus(client.client_id)}:{quote_plus(secret)}"
        found |= {secret: "client secret", base64.b64encode(pair.encode()).decode(): "Basic credentials"}
    for browser in world.browsers:
        if isinstance(browser, WatchedBrowser):
            found |= dict.fromkeys(browser.cookie_values, "cookie")
    for value, what in list(found.items()):
        if value.count(".") == 2:
            found[value.split(".")[2]] = f"signature, {what}"
        found[quote(value, safe="")] = what
        found[base64.b64encode(value.encode()).decode().rstrip("=")] = f"{what} in base64"
    return {value: what for value, what in found.items() if len(value) > 15}


def assert_clean(text: str, secrets: Mapping[str, str], where: str) -> None:
    decoded = unquote(text)
    for value, what in secrets.items():
        if value in text or value in decoded:
            at = max(text.find(value), 0)
            raise AssertionError(f"{what} in {where}: …{text[max(0, at - 200) : at]}")


def assert_sinks_are_clean(world: World, log: str) -> None:
    """Check the log and every response to a browser."""
    secrets = secrets_of(world)
    kinds = set(secrets.values())
    assert {"state", "code", "code_verifier", "client secret", "cookie", "issued by a provider"} <= kinds
    for line in log.splitlines():
        assert_clean(line, secrets, "the log")
    for browser in world.browsers:
        assert isinstance(browser, WatchedBrowser)
        for response in browser.responses:
            where = f"a response of {urlsplit(response.url).path}"
            assert_clean(response.text, secrets, where)
            for name, value in response.headers.get_all():
                target = urljoin(response.url, value)
                elsewhere = name == "Location" and origin(target) != world.url
                if name != "Set-Cookie" and not elsewhere:
                    assert_clean(f"{name}: {value}", secrets, f"a header of {where}")
            if "code" in parse_qs(urlsplit(response.url).query):
                assert response.headers["Referrer-Policy"] == "no-referrer", where
            else:
                assert response.headers.get("Referrer-Policy", "same-origin") in {
                    "same-origin",
                    "no-referrer",
                }


async def _whole_session(world: World, browser: Browser) -> None:
    """Sign in, call, refresh and sign out at both tenants."""
    for tenant, path in (("acme", "orders"), ("globex", "projects")):
        await world.sign_in(browser, tenant, query="?return_to=/account&login_hint=someone")
        await browser.fetch(world.at(f"/t/{tenant}/api/{path}"))
        await world.expire_access_token(browser, tenant)
        assert (await browser.fetch(world.at(f"/t/{tenant}/api/{path}"))).status == 200
    await browser.fetch(world.at("/session"))
    for path in ("/", "/account", "/t/acme/", "/t/globex/", "/nothing"):
        await browser.open(world.at(path))
    body = urlencode({"method": "GET", "path": "/echo"})
    await browser.step(world.at("/t/acme/"), "POST", body, site="same-origin")
    page = await browser.open(world.at("/t/acme/"))
    await browser.submit(page.form("/t/acme/logout"))
    page = await browser.open(world.at("/"))
    await browser.submit(next(form for form in page.forms if form.action == "/logout"))


@pytest.mark.gen_test(timeout=60)
async def test_S9_a_whole_session_leaks_no_secret(world: World, log_lines: io.StringIO) -> None:
    await _whole_session(world, watched(world))
    events = {json.loads(line)["event"] for line in log_lines.getvalue().splitlines()}
    assert {"login_succeeded", "refreshed", "logged_out", "request"} <= events
    assert_sinks_are_clean(world, log_lines.getvalue())


def _echo(*values: str) -> EndpointFault:
    """A provider that repeats the request in its error."""
    document = {"error": values[0], "error_description": " ".join(values), "error_uri": values[0]}
    return EndpointFault(response=Canned(400, json.dumps(document).encode()), remaining=1)


def _credentials(provider: FaultyProvider) -> tuple[str, str]:
    client = provider.settings.clients[0]
    pair = f"{client.client_id}:{client.client_secret}"
    return str(client.client_secret), base64.b64encode(pair.encode()).decode()


async def _callback_fails(world: World, browser: Browser, *, where: str) -> None:
    callback = await world.stop_before_callback(browser, "acme")
    response = await browser.step(callback, site="cross-site")
    assert response.status >= 400, where


@pytest.mark.gen_test(timeout=60)
async def test_S9_failing_logins_leak_no_secret(world: World, log_lines: io.StringIO) -> None:
    browser = watched(world)
    faults = world.acme.faults

    def broken(document: dict[str, object], **changes: object) -> None:
        document.update(changes)

    failures: list[tuple[str, object]] = [
        ("authorization_error", ("access_denied", "no")),
        ("wrong_state", True),
        ("response_iss", "missing"),
        ("response_iss", "wrong"),
        ("code_error", "invalid_grant"),
        ("token_type", "mac"),
        ("wrong_iss", True),
        ("wrong_aud", True),
        ("wrong_nonce", True),
        ("wrong_at_hash", True),
        ("expired", True),
        ("signature", "bad_signature"),
        ("signature", "alg_none"),
        ("signature", "unknown_kid"),
        ("signature", "unpublished_key"),
        ("replace_id_token", lambda token: token + "x"),
        ("replace_id_token", lambda token: token.replace(".", "")),
        ("mutate_token_response", lambda document: broken(document, expires_in=document["access_token"])),
        ("mutate_token_response", lambda document: broken(document, access_token=[document["access_token"]])),
        (
            "mutate_token_response",
            lambda document: broken(document, access_token=f"{document['id_token']}\n"),
        ),
        ("mutate_token_response", lambda document: broken(document, token_type=document["access_token"])),
        ("mutate_token_response", lambda document: broken(document, scope={str(document["id_token"]): 1})),
        ("mutate_token_response", lambda document: document.pop("id_token")),
    ]
    for name, value in failures:
        setattr(faults, name, value)
        await _callback_fails(world, browser, where=f"{name}={value}")
        faults.clear()
    for fault in (
        EndpointFault(response=Canned(500)),
        EndpointFault(response=Canned(302, b"", {"Location": f"{world.url}/t/acme/callback?code=x"})),
        EndpointFault(response=Canned(200, b"<html>")),
        EndpointFault(drop_response=True),
        EndpointFault(huge=2_000_000),
    ):
        faults.endpoints["code"] = fault
        await _callback_fails(world, browser, where=str(fault))
        faults.clear()
    assert_sinks_are_clean(world, log_lines.getvalue())


@pytest.mark.gen_test(timeout=60)
async def test_S9_secrets_repeated_in_errors_of_a_provider_are_not_leaked(
    world: World, log_lines: io.StringIO
) -> None:
    browser = watched(world)
    secret, basic = _credentials(world.acme)
    for order in range(3):
        callback = await world.stop_before_callback(browser, "acme")
        code = parse_qs(urlsplit(callback).query)["code"][0]
        echoed = [code, secret, basic]
        world.acme.faults.endpoints["code"] = _echo(*echoed[order:], *echoed[:order])
        assert (await browser.step(callback, site="cross-site")).status >= 400
    await world.quick_sign_in(browser, "acme")
    used = ""
    for _ in range(2):
        login = await world.login_of(browser, "acme")
        assert login is not None
        tokens = world.running.tokens.open(login)
        assert tokens.refresh_token is not None
        used = tokens.refresh_token.reveal()
        await world.expire_access_token(browser, "acme")
        echo = _echo(used, secret, basic, tokens.access_token.reveal())
        world.acme.faults.endpoints["refresh"] = echo
        assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 503
    world.acme.faults.endpoints["revocation"] = _echo(used, basic)
    page = await browser.open(world.at("/t/acme/"))
    await browser.submit(page.form("/t/acme/logout"))
    assert_sinks_are_clean(world, log_lines.getvalue())


@pytest.mark.gen_test(timeout=60)
async def test_S9_failing_calls_refreshes_and_databases_leak_no_secret(
    world: World, log_lines: io.StringIO, tmp_path: Path
) -> None:
    browser = watched(world)
    await world.quick_sign_in(browser, "acme")
    api = world.at("/t/acme/api/orders")
    for fault in (EndpointFault(response=Canned(500)), EndpointFault(drop_response=True)):
        await world.expire_access_token(browser, "acme")
        world.acme.faults.endpoints["refresh"] = fault
        await browser.fetch(api)
        await browser.open(world.at("/t/acme/"))
        world.acme.faults.clear()
        await world.quick_sign_in(browser, "acme")
    login = await world.login_of(browser, "acme")
    assert login is not None
    token = world.running.tokens.open(login).access_token.reveal()
    cookie = browser.cookies["localhost"]["portal"]
    for query in (
        f"login?return_to=//{cookie}",
        f"?q={token}",
        f"callback?state={cookie}",
        f"api/x;?{token}",
    ):
        await browser.fetch(world.at(f"/t/acme/{query}"))
    broken = f"HTTP/1.1 200 {token}\r\nX-Echo: {token}\x7f\r\nContent-Length: 3\r\n\r\n{{}}"
    async with raw_api(broken.encode("latin-1")) as echoing:
        change_tenant(world, "acme", api={"base_url": echoing.url})
        assert (await browser.fetch(world.at("/t/acme/api/x"))).status == 502
    keys = world.settings.keys.read_text()
    world.settings.keys.unlink()
    KeyRing.create(world.settings.keys)
    world.running.tokens.forget(login.id)
    await world.running.portal.store.touch_sessions([SessionTouch(login.session, 0, 0)])
    await browser.fetch(world.at("/t/acme/api/x"))
    await browser.open(world.at("/t/acme/"))
    world.settings.keys.write_text(keys)
    await world.running.portal.store.close()
    for path in (
        "/",
        "/t/acme/",
        "/t/acme/login",
        "/t/acme/api/x",
        "/t/acme/callback?code=a&state=b",
        "/readyz",
    ):
        assert (await browser.fetch(world.at(path))).status >= 400
    assert_sinks_are_clean(world, log_lines.getvalue())


@pytest.mark.gen_test(timeout=60)
async def test_S9_the_output_of_a_portal_process_contains_no_secret(tmp_path: Path) -> None:
    async with world_outside(tmp_path) as (world, served):
        browser = watched(world)
        await _whole_session(world, browser)
        await world.quick_sign_in(browser, "acme")
        await world.expire_access_token(browser, "acme")
        await _callback_fails_on_purpose(world, browser)
        for path in ("/%00", "/t/acme/\x7f", "/static/../x"):
            await browser.fetch(world.at(path))
        assert "login_succeeded" in served.log
        assert "request_failed" in served.log
        assert_sinks_are_clean(world, served.log)


async def _callback_fails_on_purpose(world: World, browser: Browser) -> None:
    world.acme.faults.wrong_nonce = True
    await _callback_fails(world, browser, where="wrong nonce")
    world.acme.faults.clear()
    world.acme.faults.refresh_error = "invalid_grant"
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 401
    world.acme.faults.clear()
