"""The order desk of the demo: its story with the keyboard alone; an expired sign-in that loses nothing."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.desk import NAMES, DeskStage, NewVisitor, end_login, fill_in, form_of, open_desk, row
from tests.browser.test_pages import press, tab_until_focused, type_into_form
from tests.browser.visitor import Look, Visitor
from tests.kit import axe
from tests.kit.faulty.endpoints import EndpointFault, Response
from tests.kit.world import World

each_look = pytest.mark.parametrize("look", [Look(1280, "light"), Look(320, "dark")], ids=str)


@pytest.fixture
def stage(tmp_path: Path, log_lines: io.StringIO) -> Iterator[DeskStage]:
    with contextlib.closing(DeskStage(tmp_path)) as made:
        yield made


@each_look
def test_the_story_works_with_the_keyboard_alone(
    stage: DeskStage, new_visitor: NewVisitor, look: Look, tmp_path: Path
) -> None:
    visitor = new_visitor(look)
    page = visitor.open("/desk/acme/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in first")
    press(page, page.get_by_role("button", name="Sign in"))
    type_into_form(page, "alice", "acme-alice")
    press(page, page.get_by_role("button", name="Allow", exact=True))
    expect(page).to_have_url(stage.at("/desk/acme/"))
    expect(row(page, "Umbrella Ltd")).to_contain_text("€398.00")

    press(page, page.get_by_role("button", name="Place the order"))
    expect(page.get_by_label("Customer")).to_be_focused()
    expect(page.locator("#customer-error")).to_have_text("Say who orders.")
    page.keyboard.type("Road Runner")
    for text in ("Anvil", "", "12.5"):
        page.keyboard.press("Tab")
        page.keyboard.type(text)
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Order NEW-4 was placed.")
    expect(row(page, "Road Runner")).to_have_count(1)
    expect(row(page, "Road Runner")).to_contain_text("€12.50")
    expect(page.get_by_role("log")).to_contain_text("Road Runner: 1 × Anvil")
    expect(page.get_by_label("Customer")).to_be_focused()
    assert stage.orders("acme")[-1] == "Road Runner"

    expect(page.locator("#live-state")).to_have_text("connected")
    tab_until_focused(page, page.get_by_label("Message to everybody here"))
    page.keyboard.type("Beep beep")
    page.keyboard.press("Enter")
    expect(page.get_by_role("log")).to_contain_text("Beep beep")

    file = tmp_path / "anvils.csv"
    file.write_bytes(b"anvil;1\n" * 40_000)
    press(page, page.get_by_role("link", name="Files"))
    expect(page).to_have_url(stage.at("/desk/acme/files"))
    expect(page.get_by_role("heading", level=1, name="Files")).to_be_focused()
    page.get_by_label("A file for the organisation’s API").set_input_files(file)
    press(page, page.get_by_role("button", name="Upload"))
    expect(page.locator("#file-list")).to_contain_text("320,000 bytes")
    expect(page.locator("#file-percent")).to_have_text("100 %")

    press(page, page.locator("#switcher"))
    with page.expect_navigation():
        press(page, page.get_by_role("link", name="Acme Corporation"))
    expect(page.get_by_role("heading", level=1, name="Files")).to_be_visible()
    press(page, page.locator("#switcher"))
    page.keyboard.press("Escape")
    expect(page.locator("#switcher")).to_be_focused()
    press(page, page.locator("#switcher"))
    tab_until_focused(page, page.locator("#account"))
    expect(page.locator("#organisations")).to_be_hidden()
    press(page, page.locator("#account"))
    press(page, page.get_by_role("button", name="Sign out"))
    expect(page).to_have_url(stage.at("/t/acme/signed-out"))
    assert stage.ask(lambda world: world.acme.requests["end_session"]) == 1
    visitor.check_no_errors(refusals=True)


@each_look
def test_an_expired_sign_in_loses_nothing_that_was_typed(
    stage: DeskStage, new_visitor: NewVisitor, look: Look
) -> None:
    visitor = new_visitor(look)
    page = open_desk(visitor)
    page.evaluate("() => { window.same = true; }")
    fill_in(page, "Road Runner")
    end_login(visitor)
    with stage.automatic("acme"), visitor.context.expect_page() as opened:
        page.get_by_role("button", name="Place the order").click()
    expect(row(page, "Road Runner")).to_contain_text("NEW-4")
    assert opened.value.is_closed(), "the window of the sign-in closes itself"
    assert page.evaluate("() => window.same"), "the page was not left"
    assert stage.orders("acme").count("Road Runner") == 1
    expect(page.locator("#live-state")).to_have_text("connected")
    visitor.check_no_errors(refusals=True)


def test_a_sign_in_that_is_not_finished_keeps_the_form(stage: DeskStage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = open_desk(visitor)
    fill_in(page, "Road Runner")
    typed = form_of(page)
    end_login(visitor)
    with visitor.context.expect_page() as opened:
        page.get_by_role("button", name="Place the order").click()
    expect(opened.value).to_have_url(re.compile(re.escape(stage.issuers["acme"])))
    opened.value.close()
    page.evaluate("() => window.dispatchEvent(new Event('focus'))")  # playwright's windows never lose it
    expect(page.locator("#order-error")).to_contain_text("nothing was sent")
    assert form_of(page) == typed
    expect(row(page, "Road Runner")).to_have_count(0)
    with stage.automatic("acme"):
        page.get_by_role("button", name="Place the order").click()
        expect(row(page, "Road Runner")).to_contain_text("NEW-4")
    assert stage.orders("acme").count("Road Runner") == 1


def test_where_windows_are_blocked_a_notice_asks_for_a_click(
    stage: DeskStage, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor()
    page = open_desk(visitor)
    page.evaluate("() => { window.allowed = window.open; window.open = () => null; }")
    fill_in(page, "Road Runner")
    end_login(visitor)
    page.get_by_role("button", name="Place the order").click()
    again = page.get_by_role("button", name="Sign in again")
    again.click()
    expect(page.locator("#notice-end-text")).to_contain_text("blocked the sign-in window")
    page.evaluate("() => { window.open = window.allowed; }")
    with stage.automatic("acme"):
        again.click()
        expect(row(page, "Road Runner")).to_contain_text("NEW-4")
    expect(page.locator("#notice-end")).to_be_hidden()


def test_nothing_is_sent_in_the_name_of_another_user(stage: DeskStage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = open_desk(visitor)
    fill_in(page, "Road Runner")
    end_login(visitor)
    with stage.automatic("acme", "bob"):
        page.get_by_role("button", name="Place the order").click()
        expect(page.locator("#order-error")).to_contain_text("another account")
    assert "Road Runner" not in stage.orders("acme")
    assert form_of(page)[0] == "Road Runner"


def test_an_upload_to_a_sign_in_that_has_ended_goes_on_after_the_next(
    stage: DeskStage, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor()
    page = open_desk(visitor, view="files")
    end_login(visitor)
    page.locator("#file").set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"a" * 1000})
    with stage.automatic("acme"):
        page.get_by_role("button", name="Upload").click()
        expect(page.locator("#file-list")).to_contain_text("1,000 bytes")


def test_an_upload_can_be_stopped(stage: DeskStage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = open_desk(visitor, view="files")
    page.route("**/t/acme/api/files", lambda route: None)  # no response ever
    page.locator("#file").set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"a" * 1000})
    page.get_by_role("button", name="Upload").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#file-error")).to_have_text("Stopped. Nothing was kept.")


# --- the end of a session


def test_before_the_session_ends_a_notice_lets_the_user_stay(
    stage: DeskStage, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor()
    page = open_desk(visitor)
    before = page.evaluate("async () => (await (await fetch('/session')).json()).session.idle_expires_at")
    stage.ask(lambda world: world.clock.advance(before - world.clock() - 90))
    stay = page.get_by_role("button", name="Stay signed in")
    expect(page.locator("#notice-end-text")).to_contain_text("You will be signed out at")
    axe.check(page, "the session ends")
    press(page, stay)
    expect(page.locator("#notice-end")).to_be_hidden()
    expect(page.get_by_role("status")).to_have_text("You stay signed in.")
    after = page.evaluate("async () => (await (await fetch('/session')).json()).session.idle_expires_at")
    assert after > before
    visitor.check_no_errors(refusals=True)


def test_a_sign_in_that_ends_elsewhere_is_noticed_and_renewed_with_what_was_typed(
    stage: DeskStage, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor()
    page = open_desk(visitor)
    fill_in(page, "Road Runner")
    typed = form_of(page)
    other = visitor.context.new_page()
    other.goto(stage.at("/account"))
    other.evaluate("() => fetch('/t/acme/logout', { method: 'POST', redirect: 'manual' })")
    expect(page.locator("#notice-end-text")).to_contain_text("Your sign-in to Acme Corporation has ended")
    expect(page.locator("#live-state")).to_have_text("connecting …")
    with stage.automatic("acme"):
        page.get_by_role("button", name="Sign in again").click()
        expect(page.locator("#notice-end")).to_be_hidden()
        expect(page.locator("#live-state")).to_have_text("connected")
    assert form_of(page) == typed
    page.get_by_role("button", name="Place the order").click()
    expect(row(page, "Road Runner")).to_contain_text("NEW-4")


# --- two organisations


def test_switching_keeps_the_section_and_asks_no_provider(stage: DeskStage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    open_desk(visitor, "globex")
    page = open_desk(visitor, "acme", view="files")
    asked = stage.ask(lambda world: world.globex.requests.total())
    page.locator("#switcher").click()
    with page.expect_navigation():
        page.get_by_role("link", name="Globex").click()
    expect(page).to_have_url(stage.at("/desk/globex/files"))
    expect(page.get_by_role("heading", level=1, name="Files")).to_be_visible()
    expect(page.locator("#tenant-name")).to_have_text("Globex")
    assert stage.ask(lambda world: world.globex.requests.total()) == asked


def test_two_tabs_in_two_organisations_never_mix(stage: DeskStage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    open_desk(visitor, "globex")
    acme = open_desk(visitor, "acme")
    globex = visitor.context.new_page()
    globex.goto(stage.at("/desk/globex/"))
    for page, tenant in ((acme, "acme"), (globex, "globex")):
        expect(page.locator("#live-state")).to_have_text("connected")
        fill_in(page, f"Only {tenant}")
    acme.get_by_role("button", name="Place the order").click()
    globex.get_by_role("button", name="Place the order").click()
    for page, tenant, other in ((acme, "acme", "globex"), (globex, "globex", "acme")):
        expect(row(page, f"Only {tenant}")).to_have_count(1)
        expect(page.get_by_role("log")).to_contain_text(f"Only {tenant}")
        expect(page.get_by_role("log")).not_to_contain_text(f"Only {other}")
        expect(row(page, f"Only {other}")).to_have_count(0)
        expect(page.locator("#tenant-name")).to_have_text(NAMES[tenant])
        assert f"Only {tenant}" in stage.orders(tenant)
        assert f"Only {other}" not in stage.orders(tenant)
    third = visitor.context.new_page()
    third.goto(stage.at("/desk/acme/"))
    third.locator("#switcher").click()
    third.get_by_role("link", name="Globex").click()
    expect(third).to_have_url(stage.at("/desk/globex/"))
    expect(acme).to_have_url(stage.at("/desk/acme/"))
    acme.locator("#account").click()
    acme.get_by_role("button", name="Sign out").click()
    expect(acme).to_have_url(stage.at("/t/acme/signed-out"))
    fill_in(globex, "Still here")
    globex.get_by_role("button", name="Place the order").click()
    expect(row(globex, "Still here")).to_have_count(1)


# --- what it says


def test_it_speaks_german_to_a_german_browser(stage: DeskStage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor(locale="de-DE")
    page = open_desk(visitor)
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.get_by_role("heading", level=1)).to_have_text("Bestellungen")
    expect(row(page, "Initech")).to_contain_text("1.250,00 €")
    expect(row(page, "Initech")).to_contain_text("wird verpackt")
    page.get_by_role("button", name="Bestellen").click()
    expect(page.locator("#price-error")).to_contain_text("von 0,01 bis")


@pytest.mark.parametrize(
    ("status", "says"),
    [(403, "may not see the orders"), (404, "has no orders"), (500, "the API responded with 500")],
)
def test_an_api_that_refuses_is_reported_with_what_to_do(
    stage: DeskStage, new_visitor: NewVisitor, status: int, says: str
) -> None:
    visitor = new_visitor()
    fault = EndpointFault(response=Response(status))
    stage.ask(lambda world: world.acme_api.faults.__setitem__("collection", fault))
    page = open_desk(visitor)
    expect(page.locator("#order-empty")).to_contain_text(says)
    stage.ask(lambda world: world.acme_api.faults.clear())
    if status == 500:
        page.get_by_role("button", name="Try again").click()
        expect(row(page, "Hooli")).to_be_visible()
    visitor.check_no_errors(refusals=True)


def test_no_orders_is_an_invitation(stage: DeskStage, new_visitor: NewVisitor) -> None:
    stage.ask(lambda world: world.acme_api.records.all("orders").clear())
    visitor = new_visitor()
    page = open_desk(visitor)
    expect(page.locator("#order-empty")).to_contain_text("No orders yet")
    fill_in(page, "Road Runner")
    page.get_by_role("button", name="Place the order").click()
    expect(row(page, "Road Runner")).to_be_visible()
    expect(page.locator("#order-empty")).to_be_hidden()


def test_an_order_that_is_announced_before_its_response_is_in_the_list_once(
    stage: DeskStage, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor()
    page = open_desk(visitor)
    held: list[Route] = []
    page.route("**/t/acme/api/orders", lambda route: held.append(route))
    fill_in(page, "Road Runner")
    page.get_by_role("button", name="Place the order").click()
    expect(row(page, "Road Runner")).to_have_class("pending")
    sent = {**(held[0].request.post_data_json or {}), "id": "NEW-4"}
    stage.ask(lambda world: world.acme_api.announcements.added("orders", sent))
    expect(row(page, "Road Runner")).to_contain_text("NEW-4")
    expect(row(page, "Road Runner")).to_have_count(1)
    held[0].continue_()
    expect(page.get_by_role("status")).to_have_text("Order NEW-4 was placed.")
    expect(row(page, "Road Runner")).to_have_count(1)


INVOICES = {
    "invoices": [
        {"id": "B-1", "order": "A-1001", "amount": "398.00", "currency": "EUR", "paid": True},
        {
            "id": "B-2",
            "supplier": "Hooli",
            "amount": "1.00",
            "currency": "USD",
            "paid": False,
            "due": "2030-01-31",
        },
    ]
}


def test_an_organisation_with_a_second_api_has_invoices(stage: DeskStage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    responses: list[dict[str, Any]] = [
        {"status": 403, "json": {}},
        {"status": 200, "json": INVOICES},
        {"status": 200, "json": {"invoices": []}},
    ]
    address = "**/t/acme/apis/billing/invoices"
    visitor.page.route(address, lambda route: route.fulfill(**responses.pop(0)))
    page = open_desk(visitor)
    press(page, page.get_by_role("link", name="Invoices"))
    expect(page).to_have_url(stage.at("/desk/acme/invoices"))
    expect(page.locator("#invoice-text")).to_contain_text("does not include the invoices")
    axe.check(page, "no right")
    press(page, page.locator("#invoice-again"))
    expect(page.locator("#invoice-list")).to_contain_text("Order A-1001€398.00B-1paid")
    expect(page.locator("#invoice-list")).to_contain_text("$1.00B-2due Jan 31, 2030")
    axe.check(page, "invoices")
    page.reload()
    expect(page.get_by_text("No invoices.")).to_be_visible()
    axe.check(page, "no invoices")


@pytest.mark.parametrize(
    ("tenant", "user", "shown"),
    [
        ("acme", "alice", "Order A-1001"),
        ("globex", "gina", "Vandelay Industries"),
        ("globex", "hank", "does not include the invoices"),
    ],
)
def test_every_organisation_of_the_demo_has_a_billing_api(
    stage: DeskStage, new_visitor: NewVisitor, tenant: str, user: str, shown: str
) -> None:
    visitor = new_visitor()
    with visitor.page.expect_response(f"**/t/{tenant}/apis/billing/invoices") as called:
        page = open_desk(visitor, tenant, user, view="invoices")
    expect(page.locator("#view-invoices")).to_contain_text(shown)
    assert called.value.status == (200 if user != "hank" else 401)  # the account may not see invoices
    if user != "hank":
        visitor.check_no_errors()


def test_without_an_organisation_in_the_address_it_offers_those_of_the_session(
    stage: DeskStage, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor()
    page = visitor.open("/desk/")
    expect(page.get_by_role("heading", level=1)).to_have_text("You are not signed in")
    open_desk(visitor)
    visitor.open("/desk/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Which organisation?")
    page.get_by_role("link", name="Acme Corporation").click()
    expect(page).to_have_url(stage.at("/desk/acme/"))


def test_a_user_without_the_right_to_order_is_told(stage: DeskStage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = open_desk(visitor, user="bob")
    fill_in(page, "Road Runner")
    refused = EndpointFault(response=Response(403))
    stage.ask(lambda world: world.acme_api.faults.__setitem__("collection", refused))
    page.get_by_role("button", name="Place the order").click()
    expect(page.locator("#order-error")).to_contain_text("may not place orders")
    assert form_of(page)[0] == "Road Runner"


@pytest.mark.parametrize(("locale", "typed"), [("de-DE", "12,50"), ("en-GB", "12.5")])
def test_a_price_may_have_a_decimal_comma(
    stage: DeskStage, new_visitor: NewVisitor, locale: str, typed: str
) -> None:
    visitor = new_visitor(locale=locale)
    page = open_desk(visitor)
    fill_in(page, "Road Runner", price="")
    page.locator("#price").press_sequentially(typed)
    page.locator("#order-send").click()
    expect(row(page, "Road Runner")).to_contain_text("12,50 €" if locale == "de-DE" else "€12.50")


@pytest.mark.parametrize("price", ["1.250,00", "12,505", "abc", "0", "-1", "100000"])
def test_a_price_that_is_none_is_named_at_its_field(
    stage: DeskStage, new_visitor: NewVisitor, price: str
) -> None:
    visitor = new_visitor()
    page = open_desk(visitor)
    fill_in(page, "Road Runner", price=price)
    page.get_by_role("button", name="Place the order").click()
    expect(page.locator("#price-error")).to_contain_text("A price from 0.01 to 99999")
    expect(page.locator("#price")).to_be_focused()
    assert "Road Runner" not in stage.orders("acme")


NO_SCOPE = {"WWW-Authenticate": 'Bearer error="insufficient_scope", scope="delete:orders"'}


def refuse_step_up(world: World) -> None:
    """Acme's API asks for a scope that its provider grants to nobody."""
    world.acme_api.faults["collection"] = EndpointFault(response=Response(403, headers=NO_SCOPE))
    world.acme.faults.mutate_token_response = lambda tokens: tokens.update(scope="openid")


def order_that_is_refused(stage: DeskStage, visitor: Visitor) -> tuple[Page, Page]:
    """The desk of Bob, whose order is refused, and the window of the sign-in with the portal's error."""
    page = open_desk(visitor, user="bob")
    fill_in(page, "Road Runner")
    stage.ask(refuse_step_up)
    with stage.automatic("acme", "bob"), visitor.context.expect_page() as opened:
        page.get_by_role("button", name="Place the order").click()
        window = opened.value
        expect(window.get_by_role("button", name="Close this window")).to_be_visible()
    return page, window


def test_a_refused_permission_leads_back_to_the_form(stage: DeskStage, new_visitor: NewVisitor) -> None:
    page, window = order_that_is_refused(stage, new_visitor())
    with window.expect_event("close"):
        window.get_by_role("button", name="Close this window").click()
    page.evaluate("() => window.dispatchEvent(new Event('focus'))")
    expect(page.locator("#order-error")).to_contain_text("may not place orders")
    expect(row(page, "Road Runner")).to_have_count(0)
    assert form_of(page)[0] == "Road Runner"


def test_a_refused_permission_whose_window_is_closed_says_so(
    stage: DeskStage, new_visitor: NewVisitor
) -> None:
    page, window = order_that_is_refused(stage, new_visitor())
    window.close()
    page.evaluate("() => window.dispatchEvent(new Event('focus'))")
    expect(page.locator("#order-error")).to_contain_text("may not place orders")
    expect(row(page, "Road Runner")).to_have_count(0)


def test_the_header_names_who_is_signed_in_now(stage: DeskStage, new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = open_desk(visitor)
    expect(page.locator("#user-name")).to_have_text("Alice Archer")
    fill_in(page, "Road Runner")
    end_login(visitor)
    with stage.automatic("acme", "bob"):
        page.get_by_role("button", name="Place the order").click()
        expect(page.locator("#order-error")).to_contain_text("another account")
    for place in ("#user-name", "#me-name"):
        expect(page.locator(place)).to_have_text("Bob Baker")
    expect(page.locator("#me-roles")).not_to_contain_text("admin")


def test_the_menu_of_organisations_follows_sign_ins_and_their_ends(
    stage: DeskStage, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor()
    page = open_desk(visitor)
    links = page.locator("#tenants a")
    expect(links).to_have_text(["Acme Corporation"])
    other = visitor.context.new_page()
    with stage.automatic("globex"):
        other.goto(stage.at("/t/globex/login?return_to=/t/globex/signed-in"))
    expect(links).to_have_text(["Acme Corporation", "Globex"])
    other = visitor.context.new_page()
    other.goto(stage.at("/account"))
    other.evaluate("() => fetch('/t/globex/logout', { method: 'POST', redirect: 'manual' })")
    expect(links).to_have_text(["Acme Corporation"])


def test_it_speaks_the_language_that_the_reader_chose_in_the_portal(
    stage: DeskStage, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor()
    page = visitor.open("/")
    page.get_by_role("button", name="Deutsch").click()
    expect(page.locator("html")).to_have_attribute("lang", "de")
    open_desk(visitor)
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.get_by_role("heading", level=1)).to_have_text("Bestellungen")
    expect(page.locator("#live-log")).to_have_attribute("data-empty", re.compile("^Neue Bestellungen"))
