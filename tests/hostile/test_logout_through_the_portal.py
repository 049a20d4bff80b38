"""Single faults of a logout request to the portal: status 400, one log line, and no login ended."""

from __future__ import annotations

import io
import json
from urllib.parse import urlencode

import pytest

from portal.errors import PayloadTooLarge
from portal.oidc.errors import LogoutRequestRejected
from tests.hostile.documents import Members, write
from tests.hostile.fault_report import FaultReport
from tests.hostile.faults import DEEP, Fault
from tests.hostile.minting import compact, rsa_key, unsigned
from tests.hostile.reading import lines_of, parts_of
from tests.kit.browser import Response
from tests.kit.faulty.parts import signing_key
from tests.kit.provider_logout import Provider, refusal, sid_of
from tests.kit.raw import signed_in, stored
from tests.kit.world import World

SUBJECT = "logouts through the portal"


class Refusal(LogoutRequestRejected):
    """An error response of the portal, as an exception for the fault report."""

    def __init__(self, response: Response) -> None:
        super().__init__("status", f"{response.status}")
        self.status = response.status


def faulty_claims(good: Members) -> list[Fault]:
    """Faults that must be rejected, of a token with sid and sub."""
    faults = [Fault(f"drop {name}", good.without(name)) for name in ("iss", "aud", "iat", "jti", "events")]
    for name in good.names():
        faults.append(Fault(f"{name} twice", good.plus(name, good.get(name))))
        for kind, value in (("null", None), ("true", True), ("a list", [[]]), ("deep", DEEP)):
            faults.append(Fault(f"{name} is {kind}", good.changed(name, value)))
    faults.append(Fault("neither sid nor sub", good.without("sid").without("sub")))
    faults.append(Fault("a nonce", good.plus("nonce", "x")))
    faults.append(Fault("another event", good.changed("events", Members((("urn:x", Members(())),)))))
    faults.append(Fault("a jti of 2100 characters", good.changed("jti", "x" * 2100)))
    return faults


def faulty_tokens(good: str) -> dict[str, str]:
    """All faulty tokens to send."""
    header, claims = parts_of(good)
    key = signing_key("acme")
    tokens = {fault.name: compact(write(header), fault.data, key=key) for fault in faulty_claims(claims)}
    for name, value in (
        ("alg", "none"),
        ("alg", "HS256"),
        ("kid", "../x"),
        ("typ", "at+jwt"),
        ("crit", ["exp"]),
    ):
        faulty = compact(write(header.changed(name, value)), write(claims), key=key)
        tokens[f"header: {name} is {value}"] = faulty
    tokens["another key of the same kid"] = compact(
        write(header), write(claims), key=rsa_key("an attacker's")
    )
    tokens["no signature"] = unsigned(write(header.changed("alg", "none")), write(claims))
    return tokens | {
        "nothing": "",
        "a word": "x",
        "cut off": good[:-4],
        "a NUL": "\0",
        "dots": "....",
        "🙂": "🙂",
    }


@pytest.mark.gen_test(timeout=60)
async def test_a_logout_token_with_a_fault_ends_nothing_and_leaves_one_log_line(
    world: World, log_lines: io.StringIO, report: FaultReport
) -> None:
    browser = await signed_in(world)
    provider = Provider(world)
    good = provider.token(sid=await sid_of(world, browser))
    before = stored(world)
    with report.trial(SUBJECT, LogoutRequestRejected) as trial:
        for name, token in faulty_tokens(good).items():
            log_lines.seek(0)
            log_lines.truncate()
            response = await provider.tell(token)
            trial.judge(name, "a fault that matters", None if response.status < 400 else Refusal(response))
            assert response.status == 400, name
            assert_logged(log_lines, refusal(response)["request_id"], name)
            assert stored(world) == before, name
        trial.judge("no fault", None, None if (await provider.tell(good)).status == 200 else ValueError())
    assert await world.login_of(browser, "acme") is None
    assert not lines_of(log_lines, "unexpected_error")


def assert_logged(log_lines: io.StringIO, request_id: str, name: str) -> None:
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["provider_logout_rejected", "request"], (name, lines)
    assert lines[0]["tenant"] == "acme", name
    assert lines[0]["request_id"] == request_id, name
    assert lines[0]["rule"], name
    assert lines[0]["detail"], name


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no token": b"x=y",
    "two tokens": b"logout_token=a&logout_token=b",
    "a token among many fields": b"&".join(b"x=y" for _ in range(500)) + b"&logout_token=a",
    "JSON": b'{"logout_token":"a"}',
    "not UTF-8": b"logout_token=\xff\xfe",
    "percent and nothing": b"logout_token=%",
    "percent-encoded noise": b"logout_token=%ff%fe%00",
    "64 KB": b"logout_token=" + b"a" * 65_536,
    "1 MB": b"logout_token=" + b"a" * 1_000_000,
    "semicolons": b"logout_token=a;logout_token=b",
}


@pytest.mark.gen_test(timeout=60)
async def test_a_logout_request_with_a_fault_ends_nothing(
    world: World, log_lines: io.StringIO, report: FaultReport
) -> None:
    browser = await signed_in(world)
    provider = Provider(world)
    before = stored(world)
    url = world.at("/t/acme/backchannel-logout")
    with report.trial(SUBJECT, (LogoutRequestRejected, PayloadTooLarge)) as trial:
        for name, body in BODIES.items():
            response = await provider.send(body, url, **{"Content-Type": "application/x-www-form-urlencoded"})
            trial.judge(name, "a faulty form", None if response.status < 400 else Refusal(response))
        for kind in ("application/json", "text/plain", "", "multipart/form-data; boundary=x"):
            body = urlencode({"logout_token": provider.token(sid="x")}).encode()
            response = await provider.send(body, url, **{"Content-Type": kind})
            trial.judge(
                f"as {kind!r}", "another media type", None if response.status < 400 else Refusal(response)
            )
        for name, query in (("nothing", {}), ("no sid", {"iss": provider.issuer}), ("no iss", {"sid": "x"})):
            response = await provider.frame("acme", **query)
            trial.judge(
                f"frame: {name}",
                "a parameter is missing",
                None if response.status < 400 else Refusal(response),
            )
        sid = await sid_of(world, browser)
        for issuer in (
            "https://evil.example",
            provider.issuer + "/",
            provider.issuer.upper(),
            "",
            "\0",
            "x" * 9_000,
        ):
            response = await provider.frame("acme", iss=issuer, sid=sid)
            trial.judge(
                f"frame: iss {issuer[:20]!r}",
                "another issuer",
                None if response.status < 400 else Refusal(response),
            )
    assert stored(world) == before
    assert not lines_of(log_lines, "unexpected_error")
