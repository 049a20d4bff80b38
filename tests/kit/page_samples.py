"""Sample pages: minimal, typical and with hostile values."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

from tornado.template import Loader

from portal.web.admin.navigation import ConsoleChrome
from portal.web.assets import load_templates
from portal.web.cards import unknown_tenant_card
from portal.web.views import (
    AccountPage,
    ChooserPage,
    Chrome,
    ClaimRow,
    ErrorPage,
    Explorer,
    ExplorerResult,
    NotAllowedPage,
    ProviderChoice,
    SignedOutPage,
    SignInPage,
    TenantCard,
    TenantHomePage,
)
from tests.kit.draft_page_samples import hostile_pages, usual_pages
from tests.kit.page_tree import Node, PageParser

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "templates"
STATIC = ROOT / "static"
HOSTILE = "</textarea></title><script>alert(1)</script>\"'><img src=x onerror=alert(2) style=x>&lt;{{ 1 }}"
XSRF = "2|a1b2|token"


def static_url(path: str) -> str:
    assert (STATIC / path).is_file(), path
    return f"/static/{path}?v=1"


@functools.cache
def _loader() -> Loader:
    """Keeps the templates of a process compiled."""
    return load_templates()


CONSOLE = ConsoleChrome(tenant=unknown_tenant_card("acme"))


def html_of(template: str, page: object, chrome: Chrome) -> str:
    source = _loader().load(template)
    return source.generate(page=page, chrome=chrome, console=CONSOLE, static_url=static_url).decode()


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
SIGNED_OUT_CHROME = Chrome(xsrf_token=XSRF, request_id="9f2c")
SIGNED_IN_CHROME = Chrome(signed_in=(ACME, GLOBEX), current=ACME, xsrf_token=XSRF, request_id="9f2c")
HOSTILE_CHROME = Chrome(
    signed_in=(EVIL, ACME), current=EVIL, xsrf_token=XSRF, request_id=HOSTILE, path=HOSTILE
)

RESULT = ExplorerResult(200, "OK", (("Content-Type", "application/json"),), '{\n  "id": 1\n}', False, 35)
HOME = TenantHomePage(
    tenant=ACME,
    user="Ada",
    email="",
    subject="17",
    issuer="https://login.example/",
    provider_label="",
    roles=(),
    claims=(),
    scopes=(),
    missing_scopes=(),
    access_expires_at=1_760_000_000.0,
    access_expires_text="08:53:20 UTC",
    access_expires_in=287,
    refreshes=True,
    refresh_token_missing=False,
    claims_elsewhere=(),
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
    roles=(HOSTILE,),
    claims=(ClaimRow(HOSTILE, HOSTILE),),
    scopes=(HOSTILE,),
    missing_scopes=(HOSTILE,),
    refreshes=False,
    refresh_token_missing=True,
    claims_elsewhere=(HOSTILE,),
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
    "chooser": ("chooser.html", ChooserPage((), (), "", 0), SIGNED_OUT_CHROME),
    "tenant home": ("tenant_home.html", HOME, Chrome()),
    "sign in": ("sign_in.html", SignInPage(INITECH, ()), SIGNED_OUT_CHROME),
    "signed out": ("signed_out.html", SignedOutPage((), ()), SIGNED_OUT_CHROME),
    "error": ("error.html", ErrorPage(500, "Something went wrong", "", "Try again.", ""), Chrome()),
    "account": ("account.html", AccountPage(), SIGNED_OUT_CHROME),
    "not allowed": (
        "not_allowed.html",
        NotAllowedPage(INITECH, "17", "", "", "/t/initech/login?provider=a&prompt=select_account", None, ""),
        SIGNED_OUT_CHROME,
    ),
}
FULL: dict[str, tuple[str, object, Chrome]] = {
    "full chooser": ("chooser.html", ChooserPage((ACME, GLOBEX), (ACME, INITECH), "", 3), SIGNED_IN_CHROME),
    "full tenant home": ("tenant_home.html", replace(HOME, explorer=EXPLORER), SIGNED_IN_CHROME),
    "tenant home with a response": (
        "tenant_home.html",
        replace(HOME, explorer=replace(EXPLORER, result=RESULT)),
        SIGNED_IN_CHROME,
    ),
    "full signed out": ("signed_out.html", SignedOutPage((INITECH, EVIL), (ACME,)), SIGNED_IN_CHROME),
    "full account": (
        "account.html",
        AccountPage((ACME, GLOBEX), "02:00 UTC", {"acme": "14:00"}),
        SIGNED_IN_CHROME,
    ),
}
HOSTILE_PAGES: dict[str, tuple[str, object, Chrome]] = {
    "hostile chooser": ("chooser.html", ChooserPage((EVIL,), (EVIL, ACME), HOSTILE, 2), HOSTILE_CHROME),
    "hostile search": ("chooser.html", ChooserPage((), (), HOSTILE, 2), HOSTILE_CHROME),
    "hostile tenant home": ("tenant_home.html", HOSTILE_HOME, HOSTILE_CHROME),
    "hostile sign in": (
        "sign_in.html",
        SignInPage(
            EVIL, (ProviderChoice("a", HOSTILE, "/t/evil/login"), ProviderChoice("b", HOSTILE, "/")), HOSTILE
        ),
        HOSTILE_CHROME,
    ),
    "hostile signed out": ("signed_out.html", SignedOutPage((EVIL,), (EVIL,)), HOSTILE_CHROME),
    "hostile error": (
        "error.html",
        ErrorPage(400, HOSTILE, HOSTILE, HOSTILE, HOSTILE, "/t/evil/login"),
        HOSTILE_CHROME,
    ),
    "hostile not allowed": (
        "not_allowed.html",
        NotAllowedPage(EVIL, HOSTILE, HOSTILE + "@", HOSTILE, "/t/evil/login", "default", HOSTILE),
        HOSTILE_CHROME,
    ),
    "hostile account": ("account.html", AccountPage((EVIL, ACME), "", {"evil": "14:00"}), HOSTILE_CHROME),
}
HOSTILE_PAGES |= hostile_pages(HOSTILE, HOSTILE_CHROME)
EVERY = MINIMAL | FULL | usual_pages(SIGNED_IN_CHROME) | HOSTILE_PAGES
