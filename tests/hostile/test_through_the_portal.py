"""Single faults of a login at the portal: the error page, the log line, and that nothing is stored."""

from __future__ import annotations

import base64
import gzip
import io
from collections.abc import Callable, Iterator
from functools import partial
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from portal.oidc.errors import LoginRejected
from tests.hostile.documents import Json, Literal, Members, write
from tests.hostile.fault_report import FaultReport, Trial
from tests.hostile.faults import DEEP, NUMBERS
from tests.hostile.minting import b64, compact, rsa_key, unsigned
from tests.hostile.reading import lines_of, parts_of
from tests.kit.browser import Browser
from tests.kit.browser import Response as Page
from tests.kit.faulty.endpoints import EndpointFault, Response
from tests.kit.faulty.parts import signing_key
from tests.kit.raw import stored
from tests.kit.world import World

SUBJECT = "logins through the portal"


class Refusal(LoginRejected):
    """An error page of the portal, as an exception for the fault report."""

    def __init__(self, page: Page) -> None:
        super().__init__(f"page of status {page.status}")
        self.status = page.status


async def finish(
    world: World,
    log_lines: io.StringIO,
    trial: Trial,
    name: str,
    *,
    spoil: Callable[[str], str] = str,
    codes: set[str],
) -> None:
    """Finish one login with a fault that must be rejected, and check page, log and database."""
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    log_lines.seek(0)
    log_lines.truncate()
    before = stored(world)
    page = await browser.step(spoil(callback), site="cross-site")
    trial.judge(name, "a login with a fault that matters", None if page.status < 400 else Refusal(page))
    if page.status >= 400:
        assert_refused_in_order(page, lines_of(log_lines, "request_failed"), name, codes)
    assert not lines_of(log_lines, "unexpected_error"), name
    after = stored(world)
    assert (after["sessions"], after["logins"]) == (before["sessions"], before["logins"]), name
    assert browser.cookie("localhost", "portal") is None, name
    browser.close()
    world.browsers.remove(browser)


def assert_refused_in_order(
    page: Page, lines: list[dict[str, object]], name: str, codes: set[str], *, provider: bool = True
) -> None:
    """Check that the page helps the user, and one log line helps the tenant's administrator."""
    request_id = page.headers["X-Request-Id"]
    assert request_id in page.text, name
    assert 'class="lead"' in page.text, name
    assert len(lines) == 1, (name, lines)
    line = lines[0]
    assert line["code"] in codes, (name, line)
    assert line["tenant"] == "acme", name
    assert not provider or line["provider"] == "default", name
    assert line["request_id"] == request_id, name
    assert line["rule"], name
    assert line["detail"], name
    assert len(str(line)) < 2_000, name


def id_token_faults() -> Iterator[tuple[str, Callable[[Members, Members], tuple[bytes, bytes]]]]:
    """Faults of header or claims that must be rejected, each made from the provider's token."""

    def claims(name: str, value: Json) -> Callable[[Members, Members], tuple[bytes, bytes]]:
        return lambda header, held: (write(header).encode(), write(held.changed(name, value)).encode())

    def headers(name: str, value: Json) -> Callable[[Members, Members], tuple[bytes, bytes]]:
        return lambda header, held: (write(header.changed(name, value)).encode(), write(held).encode())

    def reshaped(change: Callable[[Members], Members]) -> Callable[[Members, Members], tuple[bytes, bytes]]:
        return lambda header, held: (write(header).encode(), write(change(held)).encode())

    for name in ("iss", "sub", "aud", "exp", "iat", "nonce"):
        yield f"drop {name}", reshaped(partial(Members.without, name=name))
        yield f"{name} twice", reshaped(partial(_doubled, name=name))
        for kind, value in (("null", None), ("true", True), ("a list", [[]]), ("an object", Members(()))):
            yield f"{name} is {kind}", claims(name, value)
        yield f"{name} is huge", claims(name, "x" * 400_000)
        yield f"{name} is 10,000 levels deep", claims(name, DEEP)
    for name in ("exp", "iat", "auth_time", "nbf"):
        for text in ("1e400", "-1", '"1800000000"', "1800000000000", "99999999999999999999999"):
            yield f"{name} is {text}", claims(name, Literal(text))
    for name in ("at_hash", "azp", "sid"):
        yield f"{name} is a number", claims(name, 1)
    for alg in ("none", "HS256", "RS512", None, 1):
        yield f"alg is {alg}", headers("alg", alg)
    kids: list[Json] = ["../../etc/passwd", "https://evil.example/", "' OR 1=1", "\0", "x" * 1_000_000, 1, []]
    for kid in kids:
        yield f"kid is {str(kid)[:20]!r}", headers("kid", kid)
    for name in ("crit", "zip"):
        yield f"{name} in the header", headers(name, ["exp"])
    yield "claims that are not UTF-8", lambda header, held: (write(header).encode(), b'{"iss":"\xff"}')
    yield "claims that are a list", lambda header, held: (write(header).encode(), b"[]")
    yield "NaN among the claims", claims("exp", Literal("NaN"))


def _doubled(held: Members, name: str) -> Members:
    return held.plus(name, held.get(name))


@pytest.mark.gen_test(timeout=110)
async def test_an_id_token_with_a_fault_ends_in_a_page_a_log_line_and_nothing_stored(
    world: World, log_lines: io.StringIO, report: FaultReport
) -> None:
    with report.trial(SUBJECT, LoginRejected) as trial:
        for name, fault in id_token_faults():

            def replaced(token: str, fault: Callable[[Members, Members], tuple[bytes, bytes]] = fault) -> str:
                return compact(*fault(*parts_of(token)), key=signing_key("acme"))

            world.acme.faults.replace_id_token = replaced
            codes = {"id_token_rejected", "token_response_malformed", "provider_unavailable"}
            await finish(world, log_lines, trial, f"ID token: {name}", codes=codes)


def other_tokens(token: str) -> Iterator[tuple[str, str]]:
    """Other texts instead of the valid token."""
    header, payload, signature = token.split(".")
    plain = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    heading = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
    yield "another key of the same kid", compact(heading, plain, key=rsa_key("an attacker's"))
    yield "no signature", f"{header}.{payload}."
    yield "alg none", unsigned('{"alg":"none"}', plain)
    yield "cut off", token[:-9]
    yield "a part more", f"{token}.{signature}"
    yield "five parts", f"{token}.{header}.{payload}"
    yield "padding", token + "=="
    yield "not base64url", f"{header}.{payload}!.{signature}"
    yield "a NUL", token + "\0"
    yield "an emoji", token + "🙂"
    yield "nothing", ""
    yield "a word", "x"
    yield "dots", "." * 1_000
    yield "64 KB", f"{header}.{payload}.{'A' * 65_536}"
    yield "1 MB", f"{header}.{'A' * 1_000_000}.{signature}"
    yield "a payload of other bytes", f"{header}.{b64(plain[:-1])}.{signature}"


@pytest.mark.gen_test(timeout=60)
async def test_another_text_instead_of_the_id_token_ends_the_login_cleanly(
    world: World, log_lines: io.StringIO, report: FaultReport
) -> None:
    names = [name for name, _ in other_tokens("e30.e30.AAAA")]
    with report.trial(SUBJECT, LoginRejected) as trial:
        for name in names:
            world.acme.faults.replace_id_token = lambda token, name=name: dict(other_tokens(token))[name]
            codes = {"id_token_rejected", "token_response_malformed", "login_too_large"}
            codes.add("provider_unavailable")  # a response of 1 MB is not read completely
            await finish(world, log_lines, trial, f"token: {name}", codes=codes)


TOKEN_RESPONSES: dict[str, Response] = {
    "an empty response": Response(200, b""),
    "HTML": Response(200, b"<html>", {"Content-Type": "text/html"}),
    "a list": Response(200, b"[]"),
    "null": Response(200, b"null"),
    "nothing in it": Response(200, b"{}"),
    "no ID token": Response(200, b'{"access_token":"a","token_type":"Bearer"}'),
    "another type": Response(200, b'{"access_token":"a","token_type":"mac","id_token":"a.b.c"}'),
    "a negative lifetime": Response(200, b'{"access_token":"a","token_type":"Bearer","expires_in":-1}'),
    "a member twice": Response(200, b'{"access_token":"a","access_token":"b","token_type":"Bearer"}'),
    "NaN": Response(200, b'{"access_token":"a","token_type":"Bearer","expires_in":NaN}'),
    "a line break in a token": Response(200, b'{"access_token":"a\\r\\nX: y","token_type":"Bearer"}'),
    "not UTF-8": Response(200, b'{"access_token":"\xff"}'),
    "10,000 levels": Response(200, b'{"a":' * 10_000),
    "1 MB": Response(200, b'{"access_token":"' + b"a" * 1_000_000 + b'"}'),
    "compressed": Response(200, gzip.compress(b"{}"), {"Content-Encoding": "gzip"}),
    "a redirect": Response(302, b"", {"Location": "http://127.0.0.1:1/"}),
    "no content": Response(204, b"", {}),
    "an error": Response(400, b'{"error":"invalid_grant"}'),
    "an error with markup": Response(400, b'{"error":"<script>","error_description":"<img onerror=x>"}'),
    "an error of another type": Response(400, b'{"error":{"a":1},"error_description":[1]}'),
    "an error without JSON": Response(403, b"go away"),
    "a server error": Response(500, b"oops"),
    "too many requests": Response(429, b"{}"),
    "an unknown status": Response(599, b"{}"),
}


@pytest.mark.gen_test(timeout=60)
async def test_a_token_response_with_a_fault_ends_the_login_cleanly(
    world: World, log_lines: io.StringIO, report: FaultReport
) -> None:
    codes = {
        "token_response_malformed",
        "token_request_rejected",
        "provider_unavailable",
        "id_token_rejected",
    }
    with report.trial(SUBJECT, LoginRejected) as trial:
        for name, response in TOKEN_RESPONSES.items():
            world.acme.faults.endpoints["code"] = EndpointFault(response=response)
            await finish(world, log_lines, trial, f"token response: {name}", codes=codes)


def changed_query(change: Callable[[list[tuple[str, str]]], list[tuple[str, str]]]) -> Callable[[str], str]:
    def spoil(callback: str) -> str:
        base, query = callback.split("?", 1)
        return f"{base}?{urlencode(change(parse_qsl(query)))}"

    return spoil


def without(name: str) -> Callable[[str], str]:
    return changed_query(lambda pairs: [pair for pair in pairs if pair[0] != name])


def twice(name: str) -> Callable[[str], str]:
    return changed_query(lambda pairs: [*pairs, *(pair for pair in pairs if pair[0] == name)])


def with_parameter(name: str, value: str) -> Callable[[str], str]:
    return changed_query(lambda pairs: [*(pair for pair in pairs if pair[0] != name), (name, value)])


RESPONSES: dict[str, tuple[Callable[[str], str], str]] = {
    **{f"{name} twice": (twice(name), "response_malformed") for name in ("code", "state", "iss")},
    "no code": (without("code"), "response_malformed"),
    "no iss": (without("iss"), "response_issuer_rejected"),
    "an empty code": (with_parameter("code", ""), "response_malformed"),
    "a code with a NUL": (with_parameter("code", "a\0"), "response_malformed"),
    "a code with an emoji": (with_parameter("code", "🙂"), "response_malformed"),
    "a code of 9,000 characters": (with_parameter("code", "x" * 9_000), "response_malformed"),
    "a code that was not issued": (with_parameter("code", "x"), "token_request_rejected"),
    "another iss": (with_parameter("iss", "https://evil.example"), "response_issuer_rejected"),
    "an empty iss": (with_parameter("iss", ""), "response_issuer_rejected"),
    "iss with a slash": (with_parameter("iss", "http://127.0.0.1/"), "response_issuer_rejected"),
    "an error with a code": (with_parameter("error", "server_error"), "provider_denied"),
    "an error with markup": (with_parameter("error", "<script>alert(1)</script>"), "provider_denied"),
    "an unrequested signed response": (with_parameter("response", "a.b.c"), "signed_response_rejected"),
    "not UTF-8": (lambda callback: f"{callback}&x=%ff", "response_malformed"),
}


@pytest.mark.gen_test(timeout=60)
async def test_an_authorization_response_with_a_fault_ends_the_login_cleanly(
    world: World, log_lines: io.StringIO, report: FaultReport
) -> None:
    with report.trial(SUBJECT, LoginRejected) as trial:
        for name, (spoil, code) in RESPONSES.items():
            browser = world.browser()
            callback = await world.stop_before_callback(browser, "acme")
            log_lines.seek(0)
            log_lines.truncate()
            page = await browser.step(spoil(callback), site="cross-site")
            trial.judge(name, "a response with a fault", None if page.status < 400 else Refusal(page))
            lines = lines_of(log_lines, "request_failed")
            known = code not in {"signed_response_rejected"} and name not in {"state twice", "not UTF-8"}
            assert_refused_in_order(page, lines, name, {code}, provider=known)
            assert stored(world)["sessions"] == stored(world)["logins"] == [], name
            assert browser.cookie("localhost", "portal") is None, name


# --- before the login: discovery and keys, each in a portal with empty caches

METADATA_FAULTS: dict[str, Response] = {
    "another issuer": Response(200, b'{"issuer":"https://evil.example"}'),
    "not JSON": Response(200, b"<html>"),
    "a list": Response(200, b"[]"),
    "too large": Response(200, b'{"x":"' + b"x" * 300_000 + b'"}'),
    "a redirect": Response(302, b"", {"Location": "http://127.0.0.1:1/"}),
    "not found": Response(404, b"{}"),
    "a server error": Response(503, b"{}"),
}


@pytest.mark.parametrize("name", METADATA_FAULTS)
@pytest.mark.gen_test
async def test_a_discovery_document_with_a_fault_rejects_the_login_cleanly(
    world: World, log_lines: io.StringIO, report: FaultReport, name: str
) -> None:
    world.acme.faults.endpoints["discovery"] = EndpointFault(response=METADATA_FAULTS[name])
    browser = world.browser()
    page = await browser.step(world.at("/t/acme/login"))
    with report.trial(SUBJECT, LoginRejected) as trial:
        trial.judge(f"discovery: {name}", "a faulty document", None if page.status < 400 else Refusal(page))
    lines = lines_of(log_lines, "request_failed")
    assert_refused_in_order(page, lines, name, {"metadata_rejected", "provider_unavailable"})
    assert not any(stored(world)[table] for table in ("attempts", "sessions", "logins"))


KEY_FAULTS: dict[str, Response] = {
    "no keys": Response(200, b'{"keys":[]}'),
    "no list of keys": Response(200, b'{"keys":{}}'),
    "not JSON": Response(200, b"x"),
    "too large": Response(200, b'{"x":"' + b"x" * 600_000 + b'"}'),
    "an exponent of 8 EB": Response(
        200, b'{"keys":[{"kty":"RSA","n":"' + b"A" * 342 + b'","e":9223372036854775}]}'
    ),
    "a redirect": Response(302, b"", {"Location": "http://127.0.0.1:1/"}),
    "a server error": Response(500, b"{}"),
}


@pytest.mark.parametrize("name", KEY_FAULTS)
@pytest.mark.gen_test
async def test_a_key_set_with_a_fault_ends_the_login_cleanly(
    world: World, log_lines: io.StringIO, report: FaultReport, name: str
) -> None:
    world.acme.faults.endpoints["jwks"] = EndpointFault(response=KEY_FAULTS[name])
    codes = {"keys_rejected", "id_token_rejected", "provider_unavailable"}
    with report.trial(SUBJECT, LoginRejected) as trial:
        await finish(world, log_lines, trial, f"keys: {name}", codes=codes)


# --- harmless values are accepted, and no page fails

STRANGE_VALUES: tuple[tuple[str, Json], ...] = (
    *(("null", None), ("true", True), ("an empty string", ""), ("a list", [1, [2, None]])),
    ("an object", Members((("a", Members((("$b.c", 1), ("\0", "x")))),))),
    *(
        ("a NUL", "a\0b"),
        ("markup", "<script>alert(1)</script>"),
        ("bidi", "\u202eevil"),
        ("long", "x" * 20_000),
    ),
    ("a paired surrogate", Literal(r'"\ud83d\ude42"')),
    *NUMBERS,
)


@pytest.mark.parametrize("claim", ["name", "email", "preferred_username", "picture", "roles", "unknown"])
@pytest.mark.gen_test(timeout=60)
async def test_an_unusual_value_of_a_displayed_claim_breaks_no_page(
    world: World, log_lines: io.StringIO, report: FaultReport, claim: str
) -> None:
    with report.trial(SUBJECT, LoginRejected) as trial:
        for kind, value in STRANGE_VALUES:
            if kind in {"NaN", "Infinity", "minus Infinity", "a number of 5,000 digits"}:
                continue  # not JSON, or above the limit; test_id_token_faults has them

            def replaced(token: str, value: Json = value) -> str:
                header, claims = parts_of(token)
                return compact(write(header), write(claims.changed(claim, value)), key=signing_key("acme"))

            world.acme.faults.replace_id_token = replaced
            browser = world.browser()
            await sign_in_and_look_around(world, browser, trial, f"{claim} is {kind}")
            browser.close()
            world.browsers.remove(browser)
        assert not lines_of(log_lines, "unexpected_error")


async def sign_in_and_look_around(world: World, browser: Browser, trial: Trial, name: str) -> None:
    callback = await world.stop_before_callback(browser, "acme")
    page = await browser.step(callback, site="cross-site")
    trial.judge(name, None, None if page.status == 303 else Refusal(page))
    for path in ("/t/acme/", "/t/acme/developer", "/", "/account", "/session"):
        shown = await browser.step(world.at(path))
        assert shown.status == 200, (name, path, shown.text[:500])
        is_page = shown.headers["Content-Type"].startswith("text/html")
        assert not is_page or "<script>alert" not in shown.text, (name, path)
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200, name
    assert urlsplit(page.headers["Location"]).path == "/t/acme/", name
