"""Every page renders, says what it must, and gives a hostile text no chance."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tornado.template import Loader

from portal.web.views import (
    AccountPage,
    ChooserPage,
    Chrome,
    ClaimRow,
    ErrorPage,
    Explorer,
    ExplorerResult,
    ProviderChoice,
    SignedOutPage,
    SignInPage,
    TenantCard,
    TenantHomePage,
)

ROOT = Path(__file__).parents[3]
TEMPLATES = ROOT / "templates"
STATIC = ROOT / "static"
HOSTILE = "</textarea></title><script>alert(1)</script>\"'><img src=x onerror=alert(2) style=x>&lt;{{ 1 }}"
XSRF = "2|a1b2|token"
VOID = {"meta", "link", "input", "img", "br"}
RAW = {"script", "style"}


@dataclass
class Node:
    tag: str
    attrs: dict[str, str]
    parent: Node | None
    children: list[Node] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def all(self, *tags: str) -> list[Node]:
        below = [node for child in self.children for node in (child, *child.all())]
        return [node for node in below if not tags or node.tag in tags]

    def ancestors(self) -> list[Node]:
        return [] if self.parent is None else [self.parent, *self.parent.ancestors()]

    @property
    def text(self) -> str:
        return " ".join(" ".join([*self.texts, *(child.text for child in self.children)]).split())


class PageParser(HTMLParser):
    """Builds a tree, and insists that every element is closed where it was opened."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = self.here = Node("", {}, None)
        self.feed(html)
        self.close()
        assert self.here is self.root, f"<{self.here.tag}> is never closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        node = Node(tag, {name: value or "" for name, value in attrs}, self.here)
        self.here.children.append(node)
        if tag not in VOID:
            self.here = node

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.here.tag == tag, f"</{tag}> closes <{self.here.tag}>"
        assert self.here.parent is not None
        self.here = self.here.parent

    def handle_data(self, data: str) -> None:
        self.here.texts.append(data)


def static_url(path: str) -> str:
    assert (STATIC / path).is_file(), path
    return f"/static/{path}?v=1"


def html_of(template: str, page: object, chrome: Chrome) -> str:
    loader = Loader(str(TEMPLATES), autoescape="xhtml_escape")
    return loader.load(template).generate(page=page, chrome=chrome, static_url=static_url).decode()


def render(template: str, page: object, chrome: Chrome) -> Node:
    return PageParser(html_of(template, page, chrome)).root


def tenant(slug: str = "acme", *, name: str = "Acme", user: str = "") -> TenantCard:
    return TenantCard(
        slug=slug, name=name, initials=name[:2], color="#3157d5", signed_in=bool(user), user=user
    )


ACME = tenant(user="Ada")
GLOBEX = tenant("globex", name="Globex", user="ada@globex.example")
INITECH = tenant("initech", name="Initech")
EVIL = tenant("evil", name=HOSTILE, user=HOSTILE)
NOBODY = Chrome(xsrf_token=XSRF, request_id="9f2c")
SOMEBODY = Chrome(signed_in=(ACME, GLOBEX), current=ACME, xsrf_token=XSRF, request_id="9f2c")
HAUNTED = Chrome(signed_in=(EVIL, ACME), current=EVIL, xsrf_token=XSRF, request_id=HOSTILE, path=HOSTILE)

RESULT = ExplorerResult(200, "OK", (("Content-Type", "application/json"),), '{\n  "id": 1\n}', False, 35)
HOME = TenantHomePage(
    tenant=ACME,
    user="Ada",
    email="",
    subject="17",
    issuer="https://login.example/",
    provider_label="",
    claims=(),
    scopes=(),
    missing_scopes=(),
    access_expires_at=1_760_000_000.0,
    access_expires_text="08:53:20 UTC",
    access_expires_in=287,
    refreshes=True,
    signed_in_at_text="",
    explorer=None,
)
EXPLORER = Explorer(paths=("/orders", "/me"), path="/orders")
HOSTILE_HOME = replace(
    HOME,
    tenant=EVIL,
    user=HOSTILE,
    email=HOSTILE + "@",
    subject=HOSTILE,
    issuer=HOSTILE,
    provider_label=HOSTILE,
    claims=(ClaimRow(HOSTILE, HOSTILE),),
    scopes=(HOSTILE,),
    missing_scopes=(HOSTILE,),
    explorer=Explorer(
        paths=(HOSTILE,),
        path=HOSTILE,
        method="POST",
        body=HOSTILE,
        result=ExplorerResult(500, HOSTILE, ((HOSTILE, HOSTILE),), HOSTILE, True, 1),
        error=HOSTILE,
    ),
)

MINIMAL: dict[str, tuple[str, object, Chrome]] = {
    "chooser": ("chooser.html", ChooserPage((), (), "", 0), NOBODY),
    "tenant home": ("tenant_home.html", HOME, Chrome()),
    "sign in": ("sign_in.html", SignInPage(INITECH, ()), NOBODY),
    "signed out": ("signed_out.html", SignedOutPage((), ()), NOBODY),
    "error": ("error.html", ErrorPage(500, "Something went wrong", "", "Try again.", ""), Chrome()),
    "account": ("account.html", AccountPage(), NOBODY),
}
FULL: dict[str, tuple[str, object, Chrome]] = {
    "full chooser": ("chooser.html", ChooserPage((ACME, GLOBEX), (ACME, INITECH), "", 3), SOMEBODY),
    "full tenant home": ("tenant_home.html", replace(HOME, explorer=EXPLORER), SOMEBODY),
    "answered tenant home": (
        "tenant_home.html",
        replace(HOME, explorer=replace(EXPLORER, result=RESULT)),
        SOMEBODY,
    ),
    "full signed out": ("signed_out.html", SignedOutPage((INITECH, EVIL), (ACME,)), SOMEBODY),
    "full account": ("account.html", AccountPage((ACME, GLOBEX), "02:00 UTC", {"acme": "14:00"}), SOMEBODY),
}
HOSTILE_PAGES: dict[str, tuple[str, object, Chrome]] = {
    "hostile chooser": ("chooser.html", ChooserPage((EVIL,), (EVIL, ACME), HOSTILE, 2), HAUNTED),
    "hostile search": ("chooser.html", ChooserPage((), (), HOSTILE, 2), HAUNTED),
    "hostile tenant home": ("tenant_home.html", HOSTILE_HOME, HAUNTED),
    "hostile sign in": (
        "sign_in.html",
        SignInPage(
            EVIL, (ProviderChoice("a", HOSTILE, "/t/evil/login"), ProviderChoice("b", HOSTILE, "/")), HOSTILE
        ),
        HAUNTED,
    ),
    "hostile signed out": ("signed_out.html", SignedOutPage((EVIL,), (EVIL,)), HAUNTED),
    "hostile error": (
        "error.html",
        ErrorPage(400, HOSTILE, HOSTILE, HOSTILE, HOSTILE, "/t/evil/login"),
        HAUNTED,
    ),
    "hostile account": ("account.html", AccountPage((EVIL, ACME), "", {"evil": HOSTILE}), HAUNTED),
}
EVERY = MINIMAL | FULL | HOSTILE_PAGES

every_page = pytest.mark.parametrize("name", EVERY)


@every_page
def test_a_page_has_no_inline_script_style_or_handler(name: str) -> None:
    for node in render(*EVERY[name]).all():
        assert node.tag not in {"style", "iframe", "object", "base"}
        if node.tag == "script":
            assert node.attrs["src"].startswith("/static/")
            assert not node.text
        assert not [attr for attr in node.attrs if attr == "style" or attr.startswith("on")]


@every_page
def test_a_page_leads_and_loads_only_within_the_portal(name: str) -> None:
    for node in render(*EVERY[name]).all():
        for attr in ("href", "src", "action", "formaction", "data-login-url"):
            if attr in node.attrs:
                assert re.match(r"/(?!/)|#", node.attrs[attr]), (attr, node.attrs[attr])


@pytest.mark.parametrize("name", HOSTILE_PAGES)
def test_hostile_text_is_shown_as_text(name: str) -> None:
    html = html_of(*EVERY[name])
    assert HOSTILE not in html
    assert "<script>alert" not in html
    page = PageParser(html).root
    assert HOSTILE in page.all("main")[0].text or HOSTILE in page.all("textarea")[0].text
    assert not [image for image in page.all("img") if "onerror" in image.attrs]


@pytest.mark.parametrize("name", HOSTILE_PAGES)
def test_hostile_text_cannot_turn_the_direction_of_what_stands_around_it(name: str) -> None:
    for node in render(*EVERY[name]).all():
        if "alert(1)" not in "".join(node.texts) or node.tag in {"title", "code"}:
            continue
        around = [node, *node.ancestors()]
        assert any(outer.tag == "bdi" or "dir" in outer.attrs for outer in around), node


@every_page
def test_every_form_that_changes_something_carries_the_xsrf_token(name: str) -> None:
    chrome = EVERY[name][2]
    for form in render(*EVERY[name]).all("form"):
        tokens = [box for box in form.all("input") if box.attrs.get("name") == "_xsrf"]
        if form.attrs["method"] == "get":
            assert not tokens
            continue
        assert [(box.attrs["type"], box.attrs["value"]) for box in tokens] == [("hidden", chrome.xsrf_token)]


@every_page
def test_every_field_has_a_label_and_every_reference_an_element(name: str) -> None:
    page = render(*EVERY[name])
    ids = [node.attrs["id"] for node in page.all() if "id" in node.attrs]
    assert len(ids) == len(set(ids))
    labelled = {label.attrs["for"] for label in page.all("label")}
    fields = {
        node.attrs["id"]
        for node in page.all("input", "select", "textarea")
        if node.attrs.get("type") != "hidden"
    }
    assert labelled == fields
    for node in page.all():
        assert node.attrs.get("aria-labelledby", ids[0]) in ids
        if node.attrs.get("href", "").startswith("#"):
            assert node.attrs["href"][1:] in ids


@every_page
def test_every_button_and_link_has_a_name(name: str) -> None:
    for node in render(*EVERY[name]).all("a", "button", "summary"):
        assert node.text, node


@every_page
def test_a_page_has_its_landmarks_a_title_and_headings_in_order(name: str) -> None:
    page = render(*EVERY[name])
    assert page.all("html")[0].attrs["lang"] == "en-GB"
    assert page.all("title")[0].text.endswith("Tenant Portal")
    assert [len(page.all(tag)) for tag in ("header", "main", "footer", "h1")] == [1, 1, 1, 1]
    assert page.all("body")[0].children[0].attrs["href"] == "#content"
    levels = [int(node.tag[1]) for node in page.all("h1", "h2", "h3", "h4")]
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))


@every_page
def test_the_switcher_on_every_page_leads_to_each_signed_in_tenant(name: str) -> None:
    chrome = EVERY[name][2]
    (switcher,) = (nav for nav in render(*EVERY[name]).all("nav") if "switcher" in nav.attrs["class"])
    links = switcher.all("a")
    assert [link.attrs["href"] for link in links] == [*(card.home_url for card in chrome.signed_in), "/"]
    current = [link.attrs["href"] for link in links if "aria-current" in link.attrs]
    assert current == ([chrome.current.home_url] if chrome.current else [])


def posts_to(page: Node) -> list[str]:
    return [form.attrs["action"] for form in page.all("form") if form.attrs["method"] == "post"]


def test_the_account_menu_signs_out_of_this_tenant_or_of_all() -> None:
    page = render("error.html", ErrorPage(404, "x", "", "y", ""), SOMEBODY)
    assert posts_to(page) == ["/t/acme/logout", "/logout"]


def test_nobody_is_offered_to_sign_out_who_is_not_signed_in() -> None:
    assert posts_to(render("sign_in.html", SignInPage(INITECH, ()), NOBODY)) == []
    elsewhere = replace(SOMEBODY, current=INITECH)
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
    page = render("chooser.html", ChooserPage((ACME,), (ACME, INITECH), "e", 40), SOMEBODY)
    assert main_links(page) == ["/t/acme/", "/t/acme/", "/t/initech/"]
    assert page.all("input")[-1].attrs["value"] == "e"


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (ChooserPage((), (), "", 0), "No organisations yet"),
        (ChooserPage((), (), "", 340), "340 organisations"),
        (ChooserPage((), (), "zz", 340), "Nothing found for “ zz ”"),
        (ChooserPage((ACME,), (ACME,), "", 1), "signed in to every organisation"),
    ],
)
def test_the_chooser_explains_an_empty_list(page: ChooserPage, said: str) -> None:
    assert said in render("chooser.html", page, NOBODY).all("main")[0].text


def test_the_sign_in_page_leads_to_every_provider() -> None:
    one, two = ProviderChoice("a", "Staff", "/t/acme/login?provider=a"), ProviderChoice("b", "", "/x")
    assert main_links(render("sign_in.html", SignInPage(INITECH, (one,)), NOBODY)) == [one.login_url, "/"]
    both = render("sign_in.html", SignInPage(INITECH, (one, two), "Your sign-in has ended."), NOBODY)
    assert main_links(both) == [one.login_url, two.login_url, "/"]
    assert "Continue with b" in both.text
    assert "Your sign-in has ended." in both.text


def test_the_signed_out_page_names_what_ended_and_what_goes_on() -> None:
    one = render("signed_out.html", SignedOutPage((INITECH,), (ACME,)), SOMEBODY)
    assert "You are signed out of Initech" in one.text
    assert main_links(one) == ["/t/acme/", "/t/initech/", "/"]
    everywhere = render("signed_out.html", SignedOutPage((ACME, GLOBEX), ()), NOBODY)
    assert "You are signed out everywhere" in everywhere.text


def test_the_error_page_shows_what_happened_what_to_do_and_the_request_id() -> None:
    error = ErrorPage(
        403, "The service said no", "Not you", "Ask for access.", "9f2c", "/t/acme/login", "Again"
    )
    page = render("error.html", error, NOBODY)
    main = page.all("main")[0].text
    assert all(said in main for said in ("Error 403", "said no", "Not you", "Ask for access.", "9f2c"))
    assert main_links(page) == ["/t/acme/login", "/"]


# --- tenant home


def only(page: Node, attr: str) -> Node:
    (node,) = (node for node in page.all() if attr in node.attrs)
    return node


def test_the_token_box_carries_what_the_countdown_needs() -> None:
    page = render("tenant_home.html", HOME, SOMEBODY)
    box = only(page, "data-token")
    assert box.attrs["data-expires-at"] == "1760000000.0"
    assert box.attrs["data-expires-in"] == "287"
    assert "data-refreshes" in box.attrs
    assert box.all("time")[0].attrs["datetime"] == "2025-10-09T08:53:20+00:00"
    assert "Valid until 08:53:20 UTC" in box.text
    assert "hidden" in only(page, "data-token-again").attrs


def test_an_expired_token_without_refresh_offers_to_sign_in_again() -> None:
    page = render("tenant_home.html", replace(HOME, access_expires_in=0, refreshes=False), SOMEBODY)
    assert "data-refreshes" not in only(page, "data-token").attrs
    assert "hidden" not in only(page, "data-token-again").attrs
    renewed = render("tenant_home.html", replace(HOME, access_expires_in=0), SOMEBODY)
    assert "renews it at your next call" in renewed.text
    assert "hidden" in only(renewed, "data-token-again").attrs


def test_an_absurdly_late_expiry_still_has_a_time() -> None:
    assert replace(HOME, access_expires_at=1e20).access_expires_iso == "9999-12-31T23:59:59+00:00"


def test_a_tenant_without_an_api_has_no_explorer() -> None:
    html = html_of("tenant_home.html", HOME, SOMEBODY)
    assert "explorer.js" not in html
    assert "data-call" not in html


def test_the_explorer_posts_method_path_and_body() -> None:
    page = render(*FULL["full tenant home"])
    form = only(page, "data-call")
    assert form.attrs["action"] == "/t/acme/#answer"
    names = [node.attrs["name"] for node in form.all("input", "select", "textarea")]
    assert names == ["_xsrf", "method", "path", "body"]
    assert [button.attrs["value"] for button in only(page, "data-examples").all("button")] == [
        "/orders",
        "/me",
    ]
    assert "hidden" in only(page, "data-output").attrs


def test_the_explorer_keeps_what_was_sent_and_shows_the_answer() -> None:
    body = '\n{"a": 1}'
    sent = replace(EXPLORER, method="PUT", body=body, result=replace(RESULT, status=404, truncated=True))
    page = render("tenant_home.html", replace(HOME, explorer=sent), SOMEBODY)
    chosen = [option.text for option in page.all("option") if "selected" in option.attrs]
    assert chosen == ["PUT"]
    # A browser drops one newline after <textarea>; the parser here does not.
    assert "".join(page.all("textarea")[0].texts) == "\n" + body
    assert "".join(only(page, "data-answer-body").texts) == RESULT.body
    assert only(page, "data-summary").attrs["data-outcome"] == "4"
    assert "Content-Type" in only(page, "data-headers").text
    assert not [name for name in ("data-output", "data-cut") if "hidden" in only(page, name).attrs]
    assert 'method: "PUT"' in only(page, "data-snippet").text


def test_the_explorer_says_why_a_call_failed() -> None:
    failed = replace(EXPLORER, error="The API takes too long")
    problem = only(render("tenant_home.html", replace(HOME, explorer=failed), SOMEBODY), "data-problem")
    assert "hidden" not in problem.attrs
    assert "The API takes too long" in problem.text


# --- sources


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_no_template_turns_escaping_off(path: Path) -> None:
    assert not re.search(r"{%\s*(raw|autoescape|module)\b", path.read_text())


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_no_script_makes_markup_or_code_out_of_text(path: Path) -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|setAttribute\("
    assert not re.search(forbidden, path.read_text())


def test_the_style_sheet_loads_nothing() -> None:
    assert not re.search(r"@import|url\(|@font-face", (STATIC / "portal.css").read_text())


# --- colours


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_initials_are_readable_on_any_colour() -> None:
    steps = range(0, 256, 15)
    for color in (f"#{red:02x}{green:02x}{blue:02x}" for red in steps for green in steps for blue in steps):
        card = replace(ACME, color=color)
        dark, light = sorted((luminance(card.color), luminance(card.ink)))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, color
