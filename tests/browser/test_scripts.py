"""What the scripts of the tenant's home do: the explorer, the countdown, the menus."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.stage import Stage
from tests.browser.visitor import Look, Visitor
from tests.kit.faulty.endpoints import EndpointFault

RequestSession = Callable[..., Visitor]
LOGIN = "/t/acme/login?return_to=%2Ft%2Facme%2F"


def part(page: Page, name: str) -> Locator:
    return page.locator(f"[data-{name}]")


def respond_with(page: Page, path: str, **response: Any) -> None:
    """Have the browser see this response to calls of a path of Acme's API."""

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


def test_a_call_shows_status_time_size_body_and_headers(request_session: RequestSession) -> None:
    visitor = request_session()
    page = visitor.arrive()
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
    assert page.url == visitor.stage.at("/t/acme/")
    visitor.check_nothing_was_wrong()


def test_a_body_is_sent_as_it_was_typed_and_the_code_sends_the_same(
    stage: Stage, request_session: RequestSession
) -> None:
    visitor = request_session()
    page = visitor.arrive()
    page.get_by_label("Method").select_option("POST")
    expect(page.locator("#call-body")).to_be_visible()
    visitor.call("/echo", "POST", '{"b": [], "a": {"c": 1}}')
    assert json.loads(part(page, "response-body").inner_text())["body"] == '{"b": [], "a": {"c": 1}}'
    code = part(page, "snippet").inner_text()
    assert 'fetch("/t/acme/api/echo", {\n  method: "POST",' in code
    assert 'body: JSON.stringify({\n    "b": [],\n    "a": {\n      "c": 1\n    }\n  }),' in code
    page.locator("#call-body").fill('{"a": 12345678901234567890}')  # more digits than a number in the code
    expect(part(page, "snippet")).to_contain_text(r'body: "{\"a\": 12345678901234567890}",')
    page.locator("#call-body").press("Control+Enter")
    expect(part(page, "response-body")).to_contain_text("12345678901234567890")
    visitor.call("/echo", "DELETE", "not JSON")
    response = json.loads(part(page, "response-body").inner_text())
    assert (response["method"], response["body"]) == ("DELETE", "not JSON")
    visitor.call("/echo", "GET")
    assert json.loads(part(page, "response-body").inner_text())["body"] == ""
    assert "body" not in part(page, "snippet").inner_text()
    visitor.check_nothing_was_wrong()


def test_the_code_for_a_call_runs_as_it_stands(request_session: RequestSession) -> None:
    visitor = request_session()
    page = visitor.arrive()
    for method, body in (("GET", None), ("POST", '{"item": "Anvil", "quantity": 1}')):
        visitor.call("/echo?x=%20y&z='\"", method, body)
        code = part(page, "snippet").inner_text()
        response = page.evaluate(
            f"async () => {{ {code}\nreturn [response.status, await response.json()]; }}"
        )
        assert response[0] == 200
        assert response[1]["method"] == method
        assert json.loads(response[1]["body"] or "null") == json.loads(body or "null")
    visitor.check_nothing_was_wrong()


def test_without_scripts_the_code_for_a_call_runs_as_well(request_session: RequestSession) -> None:
    plain, visitor = request_session(Look(scripts=False)), request_session()
    page, scripted = plain.arrive(), visitor.arrive()
    for method, body in (("POST", '{"item": "Anvil"}'), ("GET", '{"left": "over"}')):
        plain.call("/echo?x=%20y", method, body)
        assert json.loads(part(page, "response-body").inner_text())["method"] == method
        code = part(page, "snippet").inner_text()
        response = scripted.evaluate(f"async () => {{ {code}\nreturn response.json(); }}")
        assert response["method"] == method
        assert response["body"] == (body if method == "POST" else "")
    visitor.check_nothing_was_wrong()


def test_numbers_in_a_response_keep_their_digits(request_session: RequestSession) -> None:
    page = request_session().arrive()
    respond_with(page, "/big", content_type="application/json", body='{"id":9007199254740993,"x":-2.50e3}')
    page.get_by_label("Path").fill("/big")
    page.get_by_role("button", name="Send").click()
    expect(part(page, "response-body")).to_have_text('{\n  "id": 9007199254740993,\n  "x": -2.50e3\n}')


def test_a_login_that_ended_is_told_with_the_way_back(stage: Stage, request_session: RequestSession) -> None:
    visitor = request_session()
    page = visitor.arrive()
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
    expect(page).to_have_url(stage.at("/t/acme/"))
    visitor.call("/orders")
    expect(page.locator(".response-code")).to_have_text("200 OK")
    visitor.check_nothing_was_wrong(refusals=True)


def test_a_forged_way_back_is_not_followed(stage: Stage, request_session: RequestSession) -> None:
    visitor = request_session()
    page = visitor.arrive()
    for login_url in (
        *("javascript:alert(1)", "//evil.example/t/acme/login", "/t/globex/login", "/logout"),
        *("http://[", 7, None),
    ):
        problem = {"title": f"<b>{login_url}</b>", "advice": "<img src=x>", "login_url": login_url}
        body = json.dumps(problem)
        own = {"Content-Type": "application/problem+json", "X-Portal-Problem": "1"}
        respond_with(page, "/forged", status=401, headers=own, body=body)
        visitor.call("/forged")
        expect(part(page, "problem-title")).to_have_text(f"<b>{login_url}</b>")
        expect(part(page, "problem-advice")).to_have_text("<img src=x>")
        link = part(page, "problem").get_by_role("link", name="Sign in again")
        expect(link).to_have_attribute("href", stage.at(LOGIN))


def test_a_problem_that_the_api_sends_is_shown_as_its_response_and_no_more(
    request_session: RequestSession,
) -> None:
    visitor = request_session()
    page = visitor.arrive()
    visitor.call("/hostile/problem")
    expect(page.locator(".response-code")).to_have_text("401 Unauthorized")
    expect(part(page, "response-body")).to_contain_text("login_url")
    expect(part(page, "problem")).to_be_hidden()


def test_what_is_not_text_is_named_and_not_shown(stage: Stage, request_session: RequestSession) -> None:
    visitor = request_session()
    page = visitor.arrive()
    visitor.call("/download?mb=0.001")
    expect(part(page, "response-body")).to_have_text("(1.0 kB of application/octet-stream, not shown)")
    visitor.call("/download?mb=1000")
    expect(part(page, "response-body")).to_have_text(
        re.compile(r"^\(more than 262\.1 kB of application/octet-stream")
    )
    expect(part(page, "cut")).to_have_text("Only the beginning is shown.")
    eventually(stage, lambda world: world.acme_api.open_streams == 0)
    respond_with(page, "/empty", status=204)
    visitor.call("/empty")
    expect(part(page, "response-body")).to_have_text("(no content)")
    visitor.check_nothing_was_wrong()


def test_without_scripts_what_is_not_text_is_not_shown_either(request_session: RequestSession) -> None:
    visitor = request_session(Look(scripts=False))
    page = visitor.arrive()
    visitor.call("/download?mb=1000")
    expect(part(page, "response-body")).to_have_text("(binary data, not shown)")
    expect(part(page, "cut")).to_have_text("Only the beginning is shown.")


def test_an_endless_response_is_left_after_its_beginning(
    stage: Stage, request_session: RequestSession
) -> None:
    visitor = request_session()
    page = visitor.arrive()
    break_echo(stage, huge=10**10)
    visitor.call("/echo")
    expect(part(page, "cut")).to_have_text("Only the beginning is shown.")
    assert len(part(page, "response-body").inner_text()) == 256 * 1024
    visitor.check_nothing_was_wrong()


def test_a_call_can_be_stopped(stage: Stage, request_session: RequestSession) -> None:
    visitor = request_session()
    page = visitor.arrive()
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
    visitor.check_nothing_was_wrong()


def test_a_portal_or_an_api_that_does_not_respond_is_told_apart(
    stage: Stage, request_session: RequestSession
) -> None:
    visitor = request_session()
    page = visitor.arrive()
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


def test_a_path_that_leads_out_of_the_api_goes_nowhere(stage: Stage, request_session: RequestSession) -> None:
    visitor = request_session()
    page = visitor.arrive()
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
    assert visitor.strangers() == []
    visitor.call("/orders")
    expect(page.locator(".response-code")).to_have_text("200 OK")
    expect(part(page, "snippet")).to_be_visible()


def test_an_example_is_called_at_once(request_session: RequestSession) -> None:
    visitor = request_session()
    page = visitor.arrive()
    page.get_by_label("Method").select_option("DELETE")
    visitor.press_for_response(page.get_by_role("button", name="GET /orders/A-1001"))
    expect(page.locator(".response-code")).to_have_text("200 OK")
    expect(page.get_by_label("Path")).to_have_value("/orders/A-1001")
    expect(page.get_by_label("Method")).to_have_value("GET")
    expect(part(page, "snippet")).to_contain_text('fetch("/t/acme/api/orders/A-1001"')


def test_the_code_can_be_copied(request_session: RequestSession) -> None:
    visitor = request_session(permissions=["clipboard-read", "clipboard-write"])
    visitor.page.clock.install()
    page = visitor.arrive()
    page.get_by_role("button", name="Copy").click()
    expect(part(page, "copy")).to_have_text("Copied")
    assert page.evaluate("() => navigator.clipboard.readText()") == part(page, "snippet").inner_text()
    page.clock.fast_forward(2100)
    expect(part(page, "copy")).to_have_text("Copy")
    visitor.check_nothing_was_wrong()


def test_a_browser_that_forbids_copying_is_named_as_the_cause(request_session: RequestSession) -> None:
    visitor = request_session()
    visitor.page.add_init_script(
        "navigator.clipboard.writeText = () => Promise.reject(new Error('forbidden'));"
    )
    page = visitor.arrive()
    page.get_by_role("button", name="Copy").click()
    expect(part(page, "copied")).to_have_text("Not allowed")


# --- countdown


def test_the_countdown_goes_by_the_portals_clock(request_session: RequestSession) -> None:
    visitor = request_session()
    visitor.page.clock.install(time=time.time() - 7200)  # this computer is two hours late
    page = visitor.arrive()
    expect(part(page, "token-left")).to_have_text(re.compile(r"^(5 min 00|4 min 5\d) s left$"))
    page.clock.fast_forward(120_000)
    expect(part(page, "token-left")).to_have_text(re.compile(r"^2 min [45]\d s left$"))


def test_a_token_that_will_be_renewed_alarms_nobody(request_session: RequestSession) -> None:
    visitor = request_session()
    visitor.page.clock.install()
    page = visitor.arrive()
    page.clock.fast_forward(270_000)
    expect(part(page, "token-left")).to_have_text(re.compile(r"^[23]\d s left$"))
    expect(part(page, "token-hint")).to_have_text("The portal renews it for you.")
    expect(page.locator(".token")).to_have_attribute("data-state", "good")


def test_a_token_that_cannot_be_renewed_leads_to_a_new_sign_in(
    stage: Stage, request_session: RequestSession
) -> None:
    visitor = request_session()
    visitor.page.clock.install()
    stage.ask(
        lambda world: setattr(
            world.acme.faults, "mutate_token_response", lambda made: made.pop("refresh_token")
        )
    )
    page = visitor.arrive()
    again = part(page, "token-again").get_by_role("link", name="Sign in again")
    page.clock.fast_forward(270_000)
    expect(page.locator(".token")).to_have_attribute("data-state", "soon")
    expect(part(page, "token-hint")).to_have_text("It cannot be renewed: you will be asked to sign in again.")
    expect(again).to_be_hidden()
    page.clock.fast_forward(40_000)
    expect(part(page, "token-left")).to_have_text("Expired")
    expect(again).to_have_attribute("href", "/t/acme/login")


def test_the_countdown_goes_on_when_the_session_cannot_be_read(request_session: RequestSession) -> None:
    visitor = request_session()
    page = visitor.arrive()
    page.route("**/session", lambda route: route.abort())
    visitor.call("/orders")
    expect(part(page, "token-left")).to_have_text(re.compile(r"^(5 min 00|4 min \d\d) s left$"))
    page.unroute_all()
    page.route("**/session", lambda route: route.fulfill(status=503, body="{}"))
    visitor.call("/orders")
    expect(part(page, "token-left")).to_have_text(re.compile(r"^(5 min 00|4 min \d\d) s left$"))


# --- menus


def test_menus_close_as_people_expect(request_session: RequestSession) -> None:
    visitor = request_session()
    page = visitor.arrive()
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
    visitor.check_nothing_was_wrong()
