"""The texts and links of each page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portal.web.views import (
    ChooserPage,
    ErrorPage,
    ProviderChoice,
    SignedOutPage,
    SignInPage,
)
from tests.kit.page_samples import (
    ACME,
    EXPLORER,
    FULL,
    GLOBEX,
    HOME,
    INITECH,
    RESULT,
    SIGNED_IN_CHROME,
    SIGNED_OUT_CHROME,
    html_of,
    render,
)
from tests.kit.page_tree import Node


def posts_to(page: Node) -> list[str]:
    return [form.attrs["action"] for form in page.all("form") if form.attrs["method"] == "post"]


def test_the_account_menu_signs_out_of_this_tenant_or_of_all() -> None:
    page = render("error.html", ErrorPage(404, "x", "", "y", ""), SIGNED_IN_CHROME)
    assert posts_to(page) == ["/t/acme/logout", "/logout"]


def test_only_a_signed_in_user_is_offered_to_sign_out() -> None:
    assert posts_to(render("sign_in.html", SignInPage(INITECH, ()), SIGNED_OUT_CHROME)) == []
    elsewhere = replace(SIGNED_IN_CHROME, current=INITECH)
    assert posts_to(render("sign_in.html", SignInPage(INITECH, ()), elsewhere)) == ["/logout"]


def test_the_account_page_signs_out_of_each_login() -> None:
    main = render(*FULL["full account"]).all("main")[0]
    assert posts_to(main) == ["/t/acme/logout", "/t/globex/logout", "/logout"]
    assert "Since 14:00" in main.text
    assert "02:00 UTC" in main.text


def main_links(page: Node) -> list[str]:
    return [link.attrs["href"] for link in page.all("main")[0].all("a")]


def test_the_chooser_lists_a_signed_in_tenant_once_and_the_others_below() -> None:
    assert main_links(render(*FULL["full chooser"])) == ["/t/acme/", "/t/globex/", "/t/initech/"]


def test_a_search_finds_signed_in_tenants_too() -> None:
    page = render("chooser.html", ChooserPage((ACME,), (ACME, INITECH), "e", 40), SIGNED_IN_CHROME)
    assert main_links(page) == ["/t/acme/", "/t/acme/", "/t/initech/"]
    assert page.all("input")[-1].attrs["value"] == "e"


@pytest.mark.parametrize(
    ("page", "text"),
    [
        (ChooserPage((), (), "", 0), "No organisations yet"),
        (ChooserPage((), (), "", 340), "340 organisations"),
        (ChooserPage((), (), "zz", 340), "Nothing found for “zz”"),
        (ChooserPage((ACME,), (), "zz", 340), "Nothing else found for “zz”"),
        (ChooserPage((ACME,), (), "", 1), "signed in to every organisation"),
    ],
)
def test_the_chooser_explains_an_empty_list(page: ChooserPage, text: str) -> None:
    assert text in render("chooser.html", page, SIGNED_OUT_CHROME).all("main")[0].text


def test_the_sign_in_page_leads_to_every_provider() -> None:
    one, two = ProviderChoice("a", "Staff", "/t/acme/login?provider=a"), ProviderChoice("b", "", "/x")
    assert main_links(render("sign_in.html", SignInPage(INITECH, (one,)), SIGNED_OUT_CHROME)) == [
        one.login_url,
        "/",
    ]
    both = render(
        "sign_in.html", SignInPage(INITECH, (one, two), "Your sign-in has ended."), SIGNED_OUT_CHROME
    )
    assert main_links(both) == [one.login_url, two.login_url, "/"]
    assert "Continue with b" in both.text
    unnamed = replace(one, label="a")
    alone = render("sign_in.html", SignInPage(INITECH, (unnamed,)), SIGNED_OUT_CHROME)
    assert alone.all("main")[0].all("a")[0].text == "Continue"
    assert "Your sign-in has ended." in both.text


def test_the_signed_out_page_lists_ended_and_remaining_logins() -> None:
    one = render("signed_out.html", SignedOutPage((INITECH,), (ACME,)), SIGNED_IN_CHROME)
    assert "You are signed out of Initech" in one.text
    assert main_links(one) == ["/t/acme/", "/t/initech/", "/"]
    everywhere = render("signed_out.html", SignedOutPage((ACME, GLOBEX), ()), SIGNED_OUT_CHROME)
    assert "You are signed out everywhere" in everywhere.text
    nothing_ended = render("signed_out.html", SignedOutPage((), (ACME,)), SIGNED_IN_CHROME)
    assert "You are still signed in" in nothing_ended.text
    assert "signed out" not in nothing_ended.all("main")[0].text


def test_the_error_page_shows_cause_advice_and_request_id() -> None:
    error = ErrorPage(
        403, "Sign-in was denied", "Not you", "Ask for access.", "9f2c", "/t/acme/login", "Again"
    )
    page = render("error.html", error, SIGNED_OUT_CHROME)
    main = page.all("main")[0].text
    assert all(text in main for text in ("Error 403", "was denied", "Not you", "Ask for access.", "9f2c"))
    assert main_links(page) == ["/t/acme/login", "/"]


# --- tenant home


def only(page: Node, attr: str) -> Node:
    (node,) = (node for node in page.all() if attr in node.attrs)
    return node


def test_the_token_box_has_the_data_for_the_countdown() -> None:
    page = render("tenant_home.html", HOME, SIGNED_IN_CHROME)
    box = only(page, "data-token")
    assert box.attrs["data-expires-at"] == "1760000000.0"
    assert box.attrs["data-expires-in"] == "287"
    assert "data-refreshes" in box.attrs
    assert box.all("time")[0].attrs["datetime"] == "2025-10-09T08:53:20+00:00"
    assert "Valid until 08:53:20 UTC" in box.text
    assert "hidden" in only(page, "data-token-again").attrs


def test_an_expired_token_without_refresh_offers_to_sign_in_again() -> None:
    page = render("tenant_home.html", replace(HOME, access_expires_in=0, refreshes=False), SIGNED_IN_CHROME)
    assert "data-refreshes" not in only(page, "data-token").attrs
    assert "hidden" not in only(page, "data-token-again").attrs
    renewed = render("tenant_home.html", replace(HOME, access_expires_in=0), SIGNED_IN_CHROME)
    assert "renews it at your next call" in renewed.text
    assert "hidden" in only(renewed, "data-token-again").attrs


def test_an_expiry_beyond_the_year_9999_is_shown_as_the_latest_time() -> None:
    assert replace(HOME, access_expires_at=1e20).access_expires_iso == "9999-12-31T23:59:59+00:00"


def test_a_tenant_without_an_api_has_no_explorer() -> None:
    html = html_of("tenant_home.html", HOME, SIGNED_IN_CHROME)
    assert "explorer.js" not in html
    assert "data-call" not in html


def test_the_explorer_posts_method_path_and_body() -> None:
    page = render(*FULL["full tenant home"])
    form = only(page, "data-call")
    assert form.attrs["action"] == "/t/acme/#response"
    names = [node.attrs["name"] for node in form.all("input", "select", "textarea")]
    assert names == ["_xsrf", "method", "path", "body"]
    assert [button.attrs["value"] for button in only(page, "data-examples").all("button")] == [
        "/orders",
        "/me",
    ]
    assert "hidden" in only(page, "data-output").attrs


def test_the_explorer_keeps_the_request_and_shows_the_response() -> None:
    body = '\n{"a": 1}'
    sent = replace(EXPLORER, method="PUT", body=body, result=replace(RESULT, status=404, truncated=True))
    page = render("tenant_home.html", replace(HOME, explorer=sent), SIGNED_IN_CHROME)
    chosen = [option.text for option in page.all("option") if "selected" in option.attrs]
    assert chosen == ["PUT"]
    # A browser drops one newline after <textarea>; the parser here does not.
    assert page.all("textarea")[0].own_text == "\n" + body
    assert only(page, "data-response-body").own_text == RESULT.body
    assert only(page, "data-summary").attrs["data-outcome"] == "4"
    assert "Content-Type" in only(page, "data-headers").text
    assert not [name for name in ("data-output", "data-cut") if "hidden" in only(page, name).attrs]
    assert 'method: "PUT"' in only(page, "data-snippet").text


def test_the_explorer_shows_why_a_call_failed() -> None:
    failed = replace(EXPLORER, error="The API takes too long")
    problem = only(
        render("tenant_home.html", replace(HOME, explorer=failed), SIGNED_IN_CHROME), "data-problem"
    )
    assert "hidden" not in problem.attrs
    assert "The API takes too long" in problem.text
