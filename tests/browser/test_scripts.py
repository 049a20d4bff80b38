"""The scripts of the developer page: the explorer, the countdown, the menus."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.stage import Stage
from tests.browser.visitor import Look, Visitor
from tests.kit.faulty.endpoints import EndpointFault

NewVisitor = Callable[..., Visitor]
LOGIN = "/t/acme/login?return_to=%2Ft%2Facme%2Fdeveloper"


def part(page: Page, name: str) -> Locator:
    return page.locator(f"[data-{name}]")


def fulfill_api_call(page: Page, path: str, **response: Any) -> None:
    """Let the browser get this response to calls of a path of Acme's API."""

    def fulfil(route: Route) -> None:
        route.fulfill(**response)

    page.route(f"**/t/acme/api{path}", fulfil)


def break_echo(stage: Stage, **fault: Any) -> None:
    stage.ask(lambda world: world.acme_api.faults.__setitem__("echo", EndpointFault(**fault)))


def eventually(stage: Stage, what: Callable[[Any], bool]) -> None:
    deadline = time.monotonic() + 10
    while not stage.ask(what):
        assert time.monotonic() < deadline
        time.sleep(0.02)


# --- explorer


def test_a_call_shows_status_time_size_body_and_headers(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.develop()
    with page.expect_request("**/t/acme/api/**") as called:
        visitor.call("orders?status=shipped")
    assert called.value.url.endswith("/t/acme/api/orders?status=shipped")
    sent = called.value.all_headers()
    assert sent["x-portal-csrf"] == "1"
    assert "authorization" not in sent
    expect(part(page, "summary")).to_have_text(re.compile(r"^200 OK\s*\d+ ms\s*\d+ B$"))
    expect(part(page, "response-body")).to_contain_text(
        '{\n  "organisation": "Acme Corporation",\n  "orders": ['
    )
    page.get_by_text("Headers of the response").click()
    expect(page.get_by_role("row", name="content-type application/json")).to_be_visible()
    assert page.url == visitor.stage.at("/t/acme/developer")
    visitor.check_no_errors()


def test_a_german_page_says_in_german_why_a_call_failed(new_visitor: NewVisitor) -> None:
    visitor = new_visitor(locale="de-DE")
    page = visitor.develop()
    page.get_by_label("Methode").select_option("GET")
    page.get_by_label("Pfad").fill("/a%2e%2e/%2e%2e%2fb")
    page.get_by_role("button", name="Senden").click()
    expect(part(page, "problem-title")).to_have_text("Diese Anfrage wurde abgelehnt")
    expect(part(page, "problem-advice")).to_contain_text("Prozentkodierung")
    fulfill_api_call(
        page,
        "/orders",
        status=502,
        headers={"X-Portal-Problem": "1", "Content-Type": "application/problem+json"},
        body=json.dumps({"title": "This organisation's API does not respond", "detail": "A new text"}),
    )
    page.get_by_label("Pfad").fill("/orders")
    page.get_by_role("button", name="Senden").click()
    expect(part(page, "problem-title")).to_have_text("Die API dieser Organisation antwortet nicht")
    expect(part(page, "problem-advice")).to_have_text("A new text")


def test_a_body_is_sent_unchanged_and_the_sample_code_sends_the_same(
    stage: Stage, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor()
    page = visitor.develop()
    page.get_by_label("Method").select_option("POST")
    expect(page.locator("#call-body")).to_be_visible()
    visitor.call("/echo", "POST", '{"b": [], "a": {"c": 1}}')
    assert json.loads(part(page, "response-body").inner_text())["body"] == '{"b": [], "a": {"c": 1}}'
    code = part(page, "snippet").inner_text()
    assert 'fetch("/t/acme/api/echo", {\n  method: "POST",' in code
    assert 'body: JSON.stringify({\n    "b": [],\n    "a": {\n      "c": 1\n    }\n  }),' in code
    page.locator("#call-body").fill(
        '{"a": 12345678901234567890}'
    )  # more digits than a JavaScript number keeps
    expect(part(page, "snippet")).to_contain_text(r'body: "{\"a\": 12345678901234567890}",')
    page.locator("#call-body").press("Control+Enter")
    expect(part(page, "response-body")).to_contain_text("12345678901234567890")
    visitor.call("/echo", "DELETE", "not JSON")
    response = json.loads(part(page, "response-body").inner_text())
    assert (response["method"], response["body"]) == ("DELETE", "not JSON")
    visitor.call("/echo", "GET")
    assert json.loads(part(page, "response-body").inner_text())["body"] == ""
    assert "body" not in part(page, "snippet").inner_text()
    visitor.check_no_errors()


def test_the_sample_code_for_a_call_runs_unchanged(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.develop()
    for method, body in (("GET", None), ("POST", '{"item": "Anvil", "quantity": 1}')):
        visitor.call("/echo?x=%20y&z='\"", method, body)
        code = part(page, "snippet").inner_text()
        response = page.evaluate(
            f"async () => {{ {code}\nreturn [response.status, await response.json()]; }}"
        )
        assert response[0] == 200
        assert response[1]["method"] == method
        assert json.loads(response[1]["body"] or "null") == json.loads(body or "null")
    visitor.check_no_errors()


def test_without_scripts_the_sample_code_for_a_call_runs_too(new_visitor: NewVisitor) -> None:
    plain, visitor = new_visitor(Look(scripts=False)), new_visitor()
    page, scripted = plain.develop(), visitor.develop()
    for method, body in (("POST", '{"item": "Anvil"}'), ("GET", '{"left": "over"}')):
        plain.call("/echo?x=%20y", method, body)
        assert json.loads(part(page, "response-body").inner_text())["method"] == method
        code = part(page, "snippet").inner_text()
        response = scripted.evaluate(f"async () => {{ {code}\nreturn response.json(); }}")
        assert response["method"] == method
        assert response["body"] == (body if method == "POST" else "")
    visitor.check_no_errors()


def test_numbers_in_a_response_keep_their_digits(new_visitor: NewVisitor) -> None:
    page = new_visitor().develop()
    fulfill_api_call(
        page, "/big", content_type="application/json", body='{"id":9007199254740993,"x":-2.50e3}'
    )
    page.get_by_label("Path").fill("/big")
    page.get_by_role("button", name="Send").click()
    expect(part(page, "response-body")).to_have_text('{\n  "id": 9007199254740993,\n  "x": -2.50e3\n}')


def test_an_ended_login_is_reported_with_a_link_to_sign_in(stage: Stage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.develop()
    stage.ask(lambda world: world.clock.advance(301))
    stage.ask(lambda world: setattr(world.acme.faults, "refresh_error", "invalid_grant"))
    visitor.call("/orders")
    expect(part(page, "problem-title")).to_have_text("Your sign-in at this organisation has ended")
    expect(part(page, "token-left")).to_have_text("Ended")
    again = part(page, "problem").get_by_role("link", name="Sign in again")
    expect(again).to_have_attribute("href", stage.at(LOGIN))
    stage.ask(lambda world: world.acme.faults.clear())
    again.click()
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page).to_have_url(stage.at("/t/acme/developer"))
    visitor.call("/orders")
    expect(page.locator(".response-code")).to_have_text("200 OK")
    visitor.check_no_errors(refusals=True)


def test_a_forged_login_url_is_not_used(stage: Stage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.develop()
    for login_url in (
        *("javascript:alert(1)", "//evil.example/t/acme/login", "/t/globex/login", "/logout"),
        *("http://[", 7, None),
    ):
        problem = {"title": f"<b>{login_url}</b>", "advice": "<img src=x>", "login_url": login_url}
        body = json.dumps(problem)
        own = {"Content-Type": "application/problem+json", "X-Portal-Problem": "1"}
        fulfill_api_call(page, "/forged", status=401, headers=own, body=body)
        visitor.call("/forged")
        expect(part(page, "problem-title")).to_have_text(f"<b>{login_url}</b>")
        expect(part(page, "problem-advice")).to_have_text("<img src=x>")
        link = part(page, "problem").get_by_role("link", name="Sign in again")
        expect(link).to_have_attribute("href", stage.at(LOGIN))


def test_a_problem_from_the_api_is_shown_only_as_its_response(
    new_visitor: NewVisitor,
) -> None:
    visitor = new_visitor()
    page = visitor.develop()
    visitor.call("/hostile/problem")
    expect(page.locator(".response-code")).to_have_text("401 Unauthorized")
    expect(part(page, "response-body")).to_contain_text("login_url")
    expect(part(page, "problem")).to_be_hidden()


def test_binary_data_is_described_and_not_shown(stage: Stage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.develop()
    visitor.call("/download?mb=0.001")
    expect(part(page, "response-body")).to_have_text("(1.0 kB of application/octet-stream, not shown)")
    expect(part(page, "save")).to_be_visible()
    visitor.call("/download?mb=1000")
    expect(part(page, "response-body")).to_have_text(
        re.compile(r"^\(more than 52\.4 MB of application/octet-stream")
    )
    expect(part(page, "cut")).to_have_text("Too large to be kept in this page: reading stopped.")
    expect(part(page, "save")).to_be_hidden()
    eventually(stage, lambda world: world.acme_api.open_streams == 0)
    fulfill_api_call(page, "/empty", status=204)
    visitor.call("/empty")
    expect(part(page, "response-body")).to_have_text("(no content)")
    visitor.check_no_errors()


def test_binary_data_can_be_saved(new_visitor: NewVisitor, tmp_path: Path) -> None:
    visitor = new_visitor()
    page = visitor.develop()
    visitor.call("/download?mb=0.5")
    link = page.get_by_role("link", name="Save sample.bin (524.3 kB)")
    visitor.check()
    with page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename == "sample.bin"
    download.value.save_as(tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == bytes(range(256)) * 2048
    for disposition, path, name in (
        ('attachment; filename="../../etc/passwd"', "/x", "_.._etc_passwd"),
        ("attachment; filename=plain.bin", "/x", "plain.bin"),
        ("", "/files/report.pdf?x=1", "report.pdf"),
        ("", "/", "response"),
    ):
        headers = {"Content-Type": "application/octet-stream", "Content-Disposition": disposition}
        fulfill_api_call(page, path.partition("?")[0] + "*", headers=headers, body=b"\x00\x01")
        visitor.call(path)
        expect(page.get_by_role("link", name=f"Save {name} (2 B)")).to_have_attribute("download", name)
    visitor.check_no_errors()


def test_a_stream_is_shown_as_it_comes(stage: Stage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.develop()
    page.get_by_label("Path").fill("/stream?interval=0.2&count=100")
    page.get_by_role("button", name="Send").click()
    body = part(page, "response-body")
    expect(body).to_contain_text('data: {"tick": 1,')
    expect(part(page, "summary")).to_have_text(re.compile(r"^200 OK\s*Receiving…$"))
    expect(body).to_contain_text('data: {"tick": 3,')
    assert stage.ask(lambda world: world.acme_api.open_streams) == 1
    page.get_by_role("button", name="Stop").click()
    expect(part(page, "cut")).to_have_text("You stopped this call. This is the part that had arrived.")
    assert '{"tick": 1,' in body.inner_text()
    eventually(stage, lambda world: world.acme_api.open_streams == 0)
    visitor.call("/orders")
    expect(body).not_to_contain_text("tick")
    visitor.check_no_errors()


BIDI = "".join(map(chr, (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))))


@pytest.mark.parametrize("scripts", [True, False])
def test_characters_that_change_the_direction_of_text_are_shown_as_escapes(
    stage: Stage, new_visitor: NewVisitor, scripts: bool
) -> None:
    visitor = new_visitor(Look(scripts=scripts))
    page = visitor.develop()
    visitor.call("/echo", "POST", f"a{BIDI}b")
    shown = part(page, "response-body").inner_text()
    assert not set(BIDI) & set(shown)
    assert json.loads(shown)["body"] == f"a{BIDI}b"
    if scripts:
        fulfill_api_call(page, "/text", content_type="text/plain", body=f"a{BIDI[:1]}b")
        visitor.call("/text")
        expect(part(page, "response-body")).to_have_text(r"a\u061cb")


def test_one_of_several_apis_can_be_chosen(stage: Stage, new_visitor: NewVisitor) -> None:
    def add(world: Any) -> None:
        registry = world.running.portal.registry
        tenant = registry.get("acme")
        billing = replace(tenant.api, name="billing", example_paths=("/echo/billing",))
        changed = replace(tenant, apis={"billing": billing})
        patched = registry.get
        registry.get = lambda slug: changed if slug == "acme" else patched(slug)

    stage.ask(add)
    visitor, plain = new_visitor(), new_visitor(Look(scripts=False))
    page = visitor.develop()
    expect(page.get_by_role("button", name="GET /echo/billing")).to_be_hidden()
    page.get_by_label("API", exact=True).select_option("billing")
    expect(page.get_by_role("button", name="GET /orders", exact=True)).to_be_hidden()
    with page.expect_request("**/t/acme/apis/billing/echo/billing"):
        visitor.press_for_response(page.get_by_role("button", name="GET /echo/billing"))
    expect(page.locator(".response-code")).to_have_text("200 OK")
    expect(part(page, "snippet")).to_contain_text('fetch("/t/acme/apis/billing/echo/billing"')
    visitor.check()
    page = plain.develop()
    plain.press_for_response(page.get_by_role("button", name="GET /echo/billing"))
    assert json.loads(part(page, "response-body").inner_text())["path"] == "/echo/billing"
    expect(page.get_by_label("API", exact=True)).to_have_value("billing")
    visitor.check_no_errors()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_call_that_needs_a_step_up_leads_to_it_and_succeeds_afterwards(
    new_visitor: NewVisitor, scripts: bool
) -> None:
    visitor = new_visitor(Look(390, scripts=scripts))
    page = visitor.develop()
    visitor.call("/secrets")
    expect(part(page, "problem-title")).to_contain_text("This call needs another sign-in")
    visitor.check()
    part(page, "problem").get_by_role("link", name="Continue at the sign-in service").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Confirm that it is you")
    visitor.check_accessibility()
    page.get_by_role("button", name="Confirm").click()
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page).to_have_url(visitor.stage.at("/t/acme/developer"))
    visitor.call("/secrets")
    expect(page.locator(".response-code")).to_have_text("200 OK")
    visitor.check_no_errors(refusals=True)


def test_without_scripts_binary_data_is_not_shown_either(new_visitor: NewVisitor) -> None:
    visitor = new_visitor(Look(scripts=False))
    page = visitor.develop()
    visitor.call("/download?mb=1000")
    expect(part(page, "response-body")).to_have_text("(binary data, not shown)")
    expect(part(page, "cut")).to_have_text("Only the beginning is shown.")


def test_an_endless_response_is_truncated(stage: Stage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.develop()
    break_echo(stage, huge=10**10)
    visitor.call("/echo")
    expect(part(page, "cut")).to_have_text("Only the beginning is shown.")
    assert len(part(page, "response-body").inner_text()) == 256 * 1024
    visitor.check_no_errors()


def test_a_call_can_be_stopped(stage: Stage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.develop()
    page.get_by_label("Path").fill("/stream?interval=60")
    page.get_by_role("button", name="Send").click()
    eventually(stage, lambda world: world.acme_api.open_streams == 1)
    page.get_by_role("button", name="Stop").click()
    expect(part(page, "response-body")).to_contain_text('data: {"tick": 1')
    expect(part(page, "cut")).to_have_text("You stopped this call. This is the part that had arrived.")
    eventually(stage, lambda world: world.acme_api.open_streams == 0)

    break_echo(stage, never_responds=True)
    page.get_by_label("Path").fill("/echo")
    page.get_by_role("button", name="Send").click()
    eventually(stage, lambda world: world.acme_api.calls["echo"] == 1)
    expect(part(page, "summary")).to_have_text("Calling…")
    page.get_by_role("button", name="Stop").click()
    expect(part(page, "summary")).to_have_text("Stopped before a response arrived.")
    expect(part(page, "output")).to_be_hidden()
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    visitor.check_no_errors()


def test_errors_of_the_portal_and_of_the_api_are_distinguished(stage: Stage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.develop()
    break_echo(stage, drop_response=True)
    visitor.call("/echo")
    expect(page.locator(".response-code")).to_have_text("502 Bad Gateway")
    expect(part(page, "problem-title")).to_have_text("This organisation's API does not respond")
    page.route("**/t/acme/api/**", lambda route: route.abort())
    visitor.call("/orders")
    expect(part(page, "problem-title")).to_have_text("The portal did not respond")
    expect(part(page, "output")).to_be_hidden()
    page.unroute_all()
    visitor.call("/orders")
    expect(page.locator(".response-code")).to_have_text("200 OK")
    expect(part(page, "problem")).to_be_hidden()


def test_a_path_that_leads_out_of_the_api_is_not_called(stage: Stage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.develop()
    for path, title in (
        ("/../../../logout", "This path is outside the API."),
        ("/%2e%2e/%2e%2e/globex/api/projects", "This path is outside the API."),
        ("/..\\..\\..\\logout", "This path is outside the API."),
        ("//evil.example/x", "This request was refused"),
        ("/%5c..%5clogout", "This request was refused"),
    ):
        visitor.call(path, "POST")
        expect(part(page, "problem-title")).to_have_text(title)
        expect(part(page, "snippet")).to_be_visible(visible="outside" not in title)
    assert stage.ask(lambda world: world.acme_api.calls.total()) == 0
    assert visitor.foreign_requests() == []
    visitor.call("/orders")
    expect(page.locator(".response-code")).to_have_text("200 OK")
    expect(part(page, "snippet")).to_be_visible()


def test_an_example_button_makes_the_call(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.develop()
    page.get_by_label("Method").select_option("DELETE")
    visitor.press_for_response(page.get_by_role("button", name="GET /orders/A-1001"))
    expect(page.locator(".response-code")).to_have_text("200 OK")
    expect(page.get_by_label("Path")).to_have_value("/orders/A-1001")
    expect(page.get_by_label("Method")).to_have_value("GET")
    expect(part(page, "snippet")).to_contain_text('fetch("/t/acme/api/orders/A-1001"')


def test_the_code_can_be_copied(new_visitor: NewVisitor) -> None:
    visitor = new_visitor(permissions=["clipboard-read", "clipboard-write"])
    visitor.page.clock.install()
    page = visitor.develop()
    page.get_by_role("button", name="Copy").click()
    expect(part(page, "copy")).to_have_text("Copied")
    assert page.evaluate("() => navigator.clipboard.readText()") == part(page, "snippet").inner_text()
    page.clock.fast_forward(2100)
    expect(part(page, "copy")).to_have_text("Copy")
    visitor.check_no_errors()


def test_a_browser_that_forbids_copying_is_reported(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    visitor.page.add_init_script(
        "navigator.clipboard.writeText = () => Promise.reject(new Error('forbidden'));"
    )
    page = visitor.develop()
    page.get_by_role("button", name="Copy").click()
    expect(part(page, "copied")).to_have_text("Not allowed")


# --- countdown


def test_the_countdown_uses_the_portals_clock(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    visitor.page.clock.install(time=time.time() - 7200)  # the browser's clock is two hours behind
    page = visitor.develop()
    expect(part(page, "token-left")).to_have_text(re.compile(r"^(5 min 00|4 min 5\d) s left$"))
    page.clock.fast_forward(120_000)
    expect(part(page, "token-left")).to_have_text(re.compile(r"^2 min [45]\d s left$"))


def test_a_renewable_token_shows_no_warning(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    visitor.page.clock.install()
    page = visitor.develop()
    page.clock.fast_forward(270_000)
    expect(part(page, "token-left")).to_have_text(re.compile(r"^[23]\d s left$"))
    expect(part(page, "token-hint")).to_have_text("The portal renews it for you.")
    expect(page.locator(".token")).to_have_attribute("data-state", "good")


def test_a_token_that_cannot_be_renewed_leads_to_a_new_sign_in(stage: Stage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    visitor.page.clock.install()
    stage.ask(
        lambda world: setattr(
            world.acme.faults, "mutate_token_response", lambda made: made.pop("refresh_token")
        )
    )
    page = visitor.develop()
    again = part(page, "token-again").get_by_role("link", name="Sign in again")
    page.clock.fast_forward(270_000)
    expect(page.locator(".token")).to_have_attribute("data-state", "soon")
    expect(part(page, "token-hint")).to_have_text("It cannot be renewed: you will be asked to sign in again.")
    expect(again).to_be_hidden()
    page.clock.fast_forward(40_000)
    expect(part(page, "token-left")).to_have_text("Expired")
    expect(again).to_have_attribute("href", LOGIN)


def test_the_countdown_continues_when_the_session_cannot_be_read(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.develop()
    page.route("**/session", lambda route: route.abort())
    visitor.call("/orders")
    expect(part(page, "token-left")).to_have_text(re.compile(r"^(5 min 00|4 min \d\d) s left$"))
    page.unroute_all()
    page.route("**/session", lambda route: route.fulfill(status=503, body="{}"))
    visitor.call("/orders")
    expect(part(page, "token-left")).to_have_text(re.compile(r"^(5 min 00|4 min \d\d) s left$"))


# --- menus


def test_menus_close_on_escape_and_on_a_click_elsewhere(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.develop()
    switcher, account = page.locator(".switcher .menu"), page.locator(".menu-account")
    switcher.locator("summary").click()
    expect(switcher).to_have_attribute("open", "")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(switcher).not_to_have_attribute("open", "")
    expect(switcher.locator("summary")).to_be_focused()
    switcher.locator("summary").click()
    account.locator("summary").click()
    expect(account).to_have_attribute("open", "")
    expect(switcher).not_to_have_attribute("open", "")
    page.get_by_role("heading", level=1).click()
    expect(account).not_to_have_attribute("open", "")
    account.locator("summary").press("Enter")
    expect(account).to_have_attribute("open", "")
    page.locator(".brand").focus()
    expect(account).not_to_have_attribute("open", "")
    visitor.check_no_errors()
