"""The texts and links of each page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portal.sentences import moment
from portal.web.views import (
    CancelledPage,
    ChooserPage,
    ErrorPage,
    ProviderChoice,
    SignedOutPage,
    SignInPage,
)
from tests.kit.page_samples import (
    ACME,
    DEVELOPER,
    EXPLORER,
    FULL,
    GLOBEX,
    HOME,
    INITECH,
    INITECH_AGAIN,
    RESULT,
    SIGNED_IN_CHROME,
    SIGNED_OUT_CHROME,
    XSRF,
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
    assert posts_to(main) == [
        "/t/acme/logout",
        "/t/globex/logout",
        *["/account/end"] * 2,
        "/account/end-others",
        "/t/initech/logout",
        "/logout",
    ]
    assert main.text.count("This browser") == 3
    assert "since 14:00" in main.text
    assert "02:00 UTC" in main.text


def main_links(page: Node) -> list[str]:
    return [link.attrs["href"] for link in page.all("main")[0].all("a")]


def test_the_chooser_lists_known_tenants_first_and_pages_through_the_others() -> None:
    page = render(*FULL["full chooser"])
    assert main_links(page) == [
        "/t/acme/",
        "/t/globex/",
        INITECH_AGAIN.url,
        "/t/hooli/",
        "/?page=1",
        "/?page=3",
    ]
    assert "57 other organisations" in page.all("main")[0].text
    assert "Page 2 of 3" in page.all("main")[0].text
    assert posts_to(page.all("main")[0]) == ["/forget", "/forget", "/find"]


def test_pages_of_a_search_keep_its_text() -> None:
    assert ChooserPage((), query="a & b").url_of(2) == "/?q=a+%26+b&page=2"


def test_a_tenant_with_one_provider_is_one_click_from_the_chooser() -> None:
    direct = INITECH._replace(direct=True)
    for card, url in (
        (direct, "/t/initech/login"),
        (INITECH, "/t/initech/"),
        (direct._replace(closed=True), "/t/initech/"),
        (ACME._replace(direct=True), "/t/acme/"),
    ):
        page = render("chooser.html", ChooserPage((), mode="list", found=(card,)), SIGNED_OUT_CHROME)
        assert main_links(page) == [url]


def test_several_organisations_of_an_address_are_a_choice_that_posts_it() -> None:
    whole = render(*FULL["chooser with a choice"])
    page = whole.all("main")[0]
    assert posts_to(page) == ["/find", "/find", "/find"]
    chosen = {one.attrs["name"]: one.attrs["value"] for one in page.all("form")[1].all("input")}
    assert chosen == {"_xsrf": XSRF, "q": "ada@group.example", "tenant": "hooli"}
    assert not any("@" in link for link in main_links(whole))


@pytest.mark.parametrize(
    ("page", "text"),
    [
        (ChooserPage((), mode="list"), "No organisations are listed"),
        (ChooserPage((), mode="search"), "Enter the whole name of the organisation"),
        (ChooserPage((), mode="email"), "You continue on the sign-in page"),
        (
            ChooserPage((), mode="list", query="zz"),
            "Nothing was found Check the spelling, or enter your work",
        ),
        (ChooserPage((), mode="search", query="zz"), "Nothing was found Check the spelling: enter the whole"),
        (ChooserPage((), mode="email", query="zz"), "Nothing was found Check the spelling of your work"),
        (ChooserPage((ACME,), mode="list"), "Every organisation of this portal is listed above"),
        (ChooserPage((), mode="list", query="e", found=(ACME,), total=40), "40 found for “e”"),
        (ChooserPage((), mode="list", found=(ACME,), total=1), "1 organisation"),
    ],
)
def test_the_chooser_explains_what_it_shows(page: ChooserPage, text: str) -> None:
    assert text in " ".join(render("chooser.html", page, SIGNED_OUT_CHROME).all("main")[0].text.split())


@pytest.mark.parametrize("address", ["ada@acme.example", "zz"])
def test_the_title_of_a_page_has_no_address_that_the_history_would_keep(address: str) -> None:
    page = render("chooser.html", ChooserPage((), mode="search", query=address), SIGNED_OUT_CHROME)
    assert page.all("title")[0].text.startswith("Find your organisation")


def test_the_switcher_groups_by_person_and_offers_to_sign_in_again() -> None:
    menu = render("error.html", ErrorPage(404, "x", "", "y", ""), SIGNED_IN_CHROME).all("nav")[0]
    assert [link.attrs["href"] for link in menu.all("a")] == [
        "/t/acme/",
        "/t/globex/",
        INITECH_AGAIN.url,
        "/",
    ]
    headings = [node.text for node in menu.all("p")]
    assert headings == ["Ada", "ada@globex.example", "Sign in again"]
    kept = replace(SIGNED_IN_CHROME, kept_page="developer")
    menu = render("error.html", ErrorPage(404, "x", "", "y", ""), kept).all("nav")[0]
    assert [link.attrs["href"] for link in menu.all("a")][:2] == ["/t/acme/developer", "/t/globex/developer"]


def test_a_sign_in_page_says_where_the_browser_is_signed_in_instead() -> None:
    page = render(*FULL["sign in elsewhere"]).all("main")[0]
    assert "not signed in to Initech in this browser, but here: Acme as Ada" in " ".join(page.text.split())
    assert "/t/acme/" in main_links(render(*FULL["sign in elsewhere"]))


def test_a_cancelled_sign_in_is_no_error() -> None:
    alone, signed_in = (
        render(
            "cancelled.html",
            CancelledPage(ACME, "/t/acme/login?return_to=x", "/t/acme/signed-in", user),
            SIGNED_IN_CHROME,
        )
        for user in ("", "Ada")
    )
    assert main_links(alone) == ["/t/acme/login?return_to=x", "/"]
    assert "Error" not in alone.text
    assert main_links(signed_in) == ["/t/acme/signed-in", "/t/acme/login?return_to=x", "/"]
    assert "still signed in to Acme as Ada" in signed_in.text


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


def test_the_sign_in_page_warns_of_unhealthy_providers_and_still_leads_there() -> None:
    bad = ProviderChoice("a", "Staff", "/t/acme/login?provider=a", unhealthy=True)
    good = ProviderChoice("b", "Partners", "/t/acme/login?provider=b")
    one = render("sign_in.html", SignInPage(INITECH, (bad,)), SIGNED_OUT_CHROME)
    assert "The sign-in service of this organisation has not worked lately." in one.text
    assert main_links(one) == [bad.login_url, "/"]
    mixed = render("sign_in.html", SignInPage(INITECH, (bad, good)), SIGNED_OUT_CHROME)
    assert "A sign-in service of this organisation has not worked lately." in mixed.text
    items = mixed.all("main")[0].all("li")
    assert ["Has not worked lately" in item.text for item in items] == [True, False]
    assert main_links(mixed) == [bad.login_url, good.login_url, "/"]
    both = render(
        "sign_in.html", SignInPage(INITECH, (bad, replace(good, unhealthy=True))), SIGNED_OUT_CHROME
    )
    assert "The sign-in services of this organisation have not worked lately." in both.text
    chosen = render(
        "sign_in.html", SignInPage(INITECH, (bad, good), address="ada@acme.example"), SIGNED_OUT_CHROME
    )
    assert chosen.all("main")[0].text.count("Has not worked lately") == 1
    closed = render("sign_in.html", SignInPage(INITECH, (bad,), closed=True), SIGNED_OUT_CHROME)
    fine = render("sign_in.html", SignInPage(INITECH, (good,)), SIGNED_OUT_CHROME)
    assert "worked lately" not in closed.text + fine.text


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


# --- tenant home and developer page


def only(page: Node, attr: str) -> Node:
    (node,) = (node for node in page.all() if attr in node.attrs)
    return node


def test_the_token_box_has_the_data_for_the_countdown() -> None:
    page = render("developer.html", DEVELOPER, SIGNED_IN_CHROME)
    box = only(page, "data-token")
    assert box.attrs["data-expires-at"] == "1760000000.0"
    assert box.attrs["data-expires-in"] == "287"
    assert "data-refreshes" in box.attrs
    assert box.all("time")[0].attrs["datetime"] == "2025-10-09T08:53:20Z"
    assert "Valid until 08:53:20 UTC" in box.text
    assert "hidden" in only(page, "data-token-again").attrs


def test_an_expired_token_without_refresh_offers_to_sign_in_again() -> None:
    page = render(
        "developer.html", replace(DEVELOPER, access_expires_in=0, refreshes=False), SIGNED_IN_CHROME
    )
    assert "data-refreshes" not in only(page, "data-token").attrs
    assert "hidden" not in only(page, "data-token-again").attrs
    renewed = render("developer.html", replace(DEVELOPER, access_expires_in=0), SIGNED_IN_CHROME)
    assert "renews it at your next call" in renewed.text
    assert "hidden" in only(renewed, "data-token-again").attrs


def test_every_login_of_the_developer_page_leads_back_to_it() -> None:
    page = render("developer.html", replace(DEVELOPER, explorer=EXPLORER), SIGNED_IN_CHROME)
    back = "/t/acme/login?return_to=%2Ft%2Facme%2Fdeveloper"
    assert [node.attrs["data-login-url"] for node in page.all() if "data-login-url" in node.attrs] == [
        back,
        back,
    ]
    links = [
        link.attrs["href"]
        for link in page.all("main")[0].all("a")
        if "login" in (link.attrs.get("href") or "")
    ]
    assert links == [back, back, back]


def test_an_expiry_beyond_the_year_9999_is_shown_as_the_latest_time() -> None:
    page = render("developer.html", replace(DEVELOPER, access_expires_text=moment(1e20)), SIGNED_IN_CHROME)
    assert only(page, "data-token").all("time")[0].attrs["datetime"] == "9999-12-31T23:59:59Z"


def test_a_tenant_without_an_api_has_no_explorer() -> None:
    html = html_of("developer.html", DEVELOPER, SIGNED_IN_CHROME)
    assert "explorer.js" not in html
    assert "data-call" not in html


def test_the_explorer_posts_method_path_and_body() -> None:
    page = render(*FULL["full developer page"])
    form = only(page, "data-call")
    assert form.attrs["action"] == "/t/acme/developer#response"
    names = [node.attrs["name"] for node in form.all("input", "select", "textarea")]
    assert names == ["_xsrf", "api", "method", "path", "body"]
    assert [button.attrs["value"] for button in only(page, "data-examples").all("button")] == [
        "/orders",
        "/me",
    ]
    assert "hidden" in only(page, "data-output").attrs


def test_the_explorer_keeps_the_request_and_shows_the_response() -> None:
    body = '\n{"a": 1}'
    sent = replace(EXPLORER, method="PUT", body=body, result=replace(RESULT, status=404, truncated=True))
    page = render("developer.html", replace(DEVELOPER, explorer=sent), SIGNED_IN_CHROME)
    chosen = [option.text for option in page.all("option") if "selected" in option.attrs]
    assert chosen == ["PUT"]
    # A browser drops one newline after <textarea>; the parser here does not.
    assert page.all("textarea")[0].own_text == "\n" + body
    assert only(page, "data-response-body").own_text == RESULT.body
    assert only(page, "data-summary").attrs["data-outcome"] == "4"
    assert "Content-Type" in only(page, "data-headers").text
    assert not [name for name in ("data-output", "data-cut") if "hidden" in only(page, name).attrs]
    assert 'method: "PUT"' in only(page, "data-snippet").text


def test_the_tenant_home_is_for_people() -> None:
    page = render(*FULL["full tenant home"])
    links = main_links(page)
    assert links == [
        *("/desk/acme/", "https://invoices.acme.example/", "/wiki"),
        *("/account", "/t/acme/developer", "/t/globex/", "/"),
    ]
    assert posts_to(page.all("main")[0]) == ["/t/acme/logout"]
    text = page.all("main")[0].text
    assert "Pay them." in text
    assert "ada@acme.example" in text
    assert "oken" not in text


def test_a_tenant_home_without_applications_says_so() -> None:
    page = render("tenant_home.html", HOME, SIGNED_IN_CHROME)
    assert "has not listed any applications" in page.text
    assert main_links(page) == ["/account", "/t/acme/developer", "/"]


def test_the_explorer_offers_to_choose_one_of_several_apis() -> None:
    page = render(*FULL["developer page with two APIs"])
    options = [option for option in page.all("option") if "data-base" in option.attrs]
    assert [option.attrs["data-base"] for option in options] == ["/t/acme/api", "/t/acme/apis/billing"]
    forms = [form for form in page.all("form") if "data-examples" in form.attrs]
    assert [form.attrs["data-examples"] for form in forms] == ["", "billing"]


def test_the_explorer_leads_to_a_step_up() -> None:
    failed = replace(EXPLORER, error_title="Another sign-in", step_up_url="/t/acme/login?acr_values=mfa")
    page = render("developer.html", replace(DEVELOPER, explorer=failed), SIGNED_IN_CHROME)
    offer = only(page, "data-problem-login")
    assert "hidden" not in offer.attrs
    assert offer.all("a")[0].attrs["href"] == "/t/acme/login?acr_values=mfa"
    assert offer.text.strip() == "Continue at the sign-in service"


def test_the_page_after_a_change_of_account_names_both() -> None:
    page = render(*FULL["other account"]).all("main")[0]
    assert "Ada" in page.text
    assert "Grace" in page.text
    assert [link.attrs["href"] for link in page.all("a")] == [
        "/t/acme/login?prompt=select_account",
        "/t/acme/",
    ]


def test_the_explorer_shows_why_a_call_failed() -> None:
    failed = replace(EXPLORER, error_title="The API takes too long", error_advice="Try again")
    problem = only(
        render("developer.html", replace(DEVELOPER, explorer=failed), SIGNED_IN_CHROME), "data-problem"
    )
    assert "hidden" not in problem.attrs
    assert [line.text for line in problem.all("p") if "hidden" not in line.attrs] == [
        "The API takes too long",
        "Try again",
    ]
