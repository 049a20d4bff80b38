"""Sample pages: minimal, typical and with hostile values."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

from tornado.template import Loader

from portal.sentences import moment
from portal.web.account_views import AccountDevice, AccountEvent, AccountLogin, AccountPage
from portal.web.admin.navigation import ConsoleChrome
from portal.web.assets import load_templates
from portal.web.cards import unknown_tenant_card
from portal.web.explorer_views import Explorer, ExplorerApi, ExplorerResult
from portal.web.switching import people_of
from portal.web.views import (
    CancelledPage,
    ChooserPage,
    Chrome,
    ClaimRow,
    DeveloperPage,
    ErrorPage,
    HomeLink,
    NotAllowedPage,
    OtherAccountPage,
    ProviderChoice,
    SignedInPage,
    SignedOutPage,
    SignInAgain,
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
    more = {"console": CONSOLE, "static_url": static_url, "kept": None}
    return source.generate(page=page, chrome=chrome, **more).decode()


def render(template: str, page: object, chrome: Chrome) -> Node:
    return PageParser(html_of(template, page, chrome)).root


def tenant(slug: str = "acme", *, name: str = "Acme", user: str = "") -> TenantCard:
    return TenantCard(
        slug=slug, name=name, initials=name[:2], color="#3157d5", signed_in=bool(user), user=user
    )


RECENT = tuple(
    AccountEvent("Acme", kind, "13:00", browser, network, reason)
    for kind, browser, network, reason in (
        ("in", "Firefox on Linux", "192.0.2.0/24", ""),
        ("out", "", "", ""),
        ("ended", "", "", "back-channel logout"),
    )
)


def account_login(card: TenantCard, *, others: int = 0, text: str = "x") -> AccountLogin:
    """A login on the account page with this browser, and other devices."""
    own = AccountDevice("a" * 64, "Firefox on Linux", "minutes", "14:00", is_own=True)
    other = AccountDevice("b" * 64, text if text != "x" else "", "longer", "13:00", is_own=False)
    return AccountLogin(
        card=card,
        email=text,
        roles=(text,),
        claims=(ClaimRow(text, text),),
        signed_in_at_text="14:00",
        expires_text="22:00",
        devices=(own, *[other] * others),
        others=others,
        more=others > 1,
    )


ACME = tenant(user="Ada")
GLOBEX = tenant("globex", name="Globex", user="ada@globex.example")
INITECH = tenant("initech", name="Initech")
HOOLI = tenant("hooli", name="Hooli")
EVIL = tenant("evil", name=HOSTILE, user=HOSTILE)
SIGNED_OUT_CHROME = Chrome(xsrf_token=XSRF, request_id="9f2c")
INITECH_AGAIN = SignInAgain(INITECH, "/t/initech/login?prompt=none&return_to=%2Ft%2Finitech%2F")
EVIL_AGAIN = SignInAgain(EVIL, "/t/evil/login?prompt=none")
SIGNED_IN_CHROME = Chrome(
    signed_in=(ACME, GLOBEX),
    people=people_of((ACME, GLOBEX)),
    again=(INITECH_AGAIN,),
    current=ACME,
    xsrf_token=XSRF,
    request_id="9f2c",
)
HOSTILE_CHROME = Chrome(
    signed_in=(EVIL, ACME),
    people=people_of((EVIL, ACME)),
    again=(EVIL_AGAIN,),
    current=EVIL,
    xsrf_token=XSRF,
    request_id=HOSTILE,
    path=HOSTILE,
)

RESULT = ExplorerResult(200, "OK", (("Content-Type", "application/json"),), '{\n  "id": 1\n}', False, 35)
DEVELOPER = DeveloperPage(
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
    access_expires_text=moment(1_760_000_000.0),
    access_expires_in=287,
    refreshes=True,
    refresh_token_missing=False,
    claims_elsewhere=(),
    signed_in_at_text="",
    explorer=None,
)
EXPLORER = Explorer(apis=(ExplorerApi("", "/t/acme/api", ("/orders", "/me")),), path="/orders")
TWO_APIS = replace(
    EXPLORER, apis=(*EXPLORER.apis, ExplorerApi("billing", "/t/acme/apis/billing", ("/invoices",)))
)
HOME = TenantHomePage(ACME, "Ada", "", (), "", (), ())
FULL_HOME = replace(
    HOME,
    email="ada@acme.example",
    roles=("sales",),
    home_url="/desk/acme/",
    links=(HomeLink("Invoices", "https://invoices.acme.example/", "Pay them."), HomeLink("Wiki", "/wiki")),
    others=(GLOBEX,),
)
HOSTILE_HOME = TenantHomePage(
    EVIL, HOSTILE, HOSTILE, (HOSTILE,), "/x", (HomeLink(HOSTILE, "/y", HOSTILE),), (EVIL,)
)
HOSTILE_DEVELOPER = replace(
    DEVELOPER,
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
        apis=(ExplorerApi("evil", HOSTILE, (HOSTILE,)), ExplorerApi(HOSTILE, HOSTILE, (HOSTILE,))),
        api="evil",
        path=HOSTILE,
        method="POST",
        body=HOSTILE,
        result=ExplorerResult(500, HOSTILE, ((HOSTILE, HOSTILE),), HOSTILE, True, 1),
        error_title=HOSTILE,
        error_advice=HOSTILE,
        step_up_url="/t/evil/login?acr_values=mfa",
    ),
)

MINIMAL: dict[str, tuple[str, object, Chrome]] = {
    "chooser": ("chooser.html", ChooserPage(()), SIGNED_OUT_CHROME),
    "chooser by e-mail": ("chooser.html", ChooserPage((), mode="email"), SIGNED_OUT_CHROME),
    "chooser without tenants": ("chooser.html", ChooserPage((), mode="list"), SIGNED_OUT_CHROME),
    "chooser that finds nothing": ("chooser.html", ChooserPage((), query="zz"), SIGNED_OUT_CHROME),
    "cancelled": (
        "cancelled.html",
        CancelledPage(INITECH, "/t/initech/login", "/t/initech/"),
        SIGNED_OUT_CHROME,
    ),
    "tenant home": ("tenant_home.html", HOME, Chrome()),
    "developer page": ("developer.html", DEVELOPER, Chrome()),
    "sign in": ("sign_in.html", SignInPage(INITECH, ()), SIGNED_OUT_CHROME),
    "signed in": ("signed_in.html", SignedInPage(ACME), SIGNED_IN_CHROME),
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
    "full chooser": (
        "chooser.html",
        ChooserPage((ACME, GLOBEX), (INITECH_AGAIN,), "list", "", (HOOLI,), total=57, number=2, pages=3),
        SIGNED_IN_CHROME,
    ),
    "chooser with a choice": (
        "chooser.html",
        ChooserPage((), query="ada@group.example", found=(HOOLI, INITECH), address="ada@group.example"),
        SIGNED_OUT_CHROME,
    ),
    "sign in with an address": (
        "sign_in.html",
        SignInPage(
            INITECH,
            (ProviderChoice("a", "Staff", "/t/initech/login?provider=a"), ProviderChoice("b", "", "/x")),
            address="ada@initech.example",
        ),
        SIGNED_OUT_CHROME,
    ),
    "sign in with an unhealthy provider": (
        "sign_in.html",
        SignInPage(INITECH, (ProviderChoice("a", "Staff", "/t/initech/login", unhealthy=True),)),
        SIGNED_OUT_CHROME,
    ),
    "sign in with one of two unhealthy": (
        "sign_in.html",
        SignInPage(
            INITECH,
            (
                ProviderChoice("a", "Staff", "/t/initech/login?provider=a", unhealthy=True),
                ProviderChoice("b", "Partners", "/t/initech/login?provider=b"),
            ),
        ),
        SIGNED_OUT_CHROME,
    ),
    "sign in elsewhere": ("sign_in.html", SignInPage(INITECH, (), elsewhere=(ACME,)), SIGNED_IN_CHROME),
    "cancelled, still signed in": (
        "cancelled.html",
        CancelledPage(ACME, "/t/acme/login", "Ada"),
        SIGNED_IN_CHROME,
    ),
    "full tenant home": ("tenant_home.html", FULL_HOME, SIGNED_IN_CHROME),
    "full developer page": ("developer.html", replace(DEVELOPER, explorer=EXPLORER), SIGNED_IN_CHROME),
    "developer page with two APIs": (
        "developer.html",
        replace(DEVELOPER, explorer=TWO_APIS),
        SIGNED_IN_CHROME,
    ),
    "developer page with a response": (
        "developer.html",
        replace(DEVELOPER, explorer=replace(EXPLORER, result=RESULT)),
        SIGNED_IN_CHROME,
    ),
    "other account": (
        "other_account.html",
        OtherAccountPage(ACME, "Ada", "Grace", "/t/acme/", "/t/acme/login?prompt=select_account"),
        SIGNED_IN_CHROME,
    ),
    "full signed out": ("signed_out.html", SignedOutPage((INITECH, EVIL), (ACME,)), SIGNED_IN_CHROME),
    "full account": (
        "account.html",
        AccountPage(
            (account_login(ACME), account_login(GLOBEX, others=2)), (INITECH,), "02:00 UTC", 2, RECENT
        ),
        SIGNED_IN_CHROME,
    ),
}
HOSTILE_PAGES: dict[str, tuple[str, object, Chrome]] = {
    "hostile chooser": (
        "chooser.html",
        ChooserPage((EVIL,), (EVIL_AGAIN,), "list", HOSTILE, (EVIL, ACME), 2, pages=2),
        HOSTILE_CHROME,
    ),
    "hostile search": ("chooser.html", ChooserPage((), query=HOSTILE), HOSTILE_CHROME),
    "hostile choice": (
        "chooser.html",
        ChooserPage((), query=HOSTILE, found=(EVIL,), address=HOSTILE),
        HOSTILE_CHROME,
    ),
    "hostile cancelled": ("cancelled.html", CancelledPage(EVIL, "/t/evil/login", HOSTILE), HOSTILE_CHROME),
    "hostile tenant home": ("tenant_home.html", HOSTILE_HOME, HOSTILE_CHROME),
    "hostile developer page": ("developer.html", HOSTILE_DEVELOPER, HOSTILE_CHROME),
    "hostile other account": (
        "other_account.html",
        OtherAccountPage(EVIL, HOSTILE, HOSTILE, "/t/evil/", "/t/evil/login"),
        HOSTILE_CHROME,
    ),
    "hostile sign in": (
        "sign_in.html",
        SignInPage(
            EVIL,
            (ProviderChoice("a", HOSTILE, "/t/evil/login"), ProviderChoice("b", HOSTILE, "/")),
            HOSTILE,
            elsewhere=(EVIL,),
            address=HOSTILE,
        ),
        HOSTILE_CHROME,
    ),
    "hostile signed in": ("signed_in.html", SignedInPage(EVIL), HOSTILE_CHROME),
    "hostile signed out": ("signed_out.html", SignedOutPage((EVIL,), (EVIL,)), HOSTILE_CHROME),
    "hostile error": (
        "error.html",
        ErrorPage(400, HOSTILE, HOSTILE, HOSTILE, HOSTILE, "/t/evil/login"),
        HOSTILE_CHROME,
    ),
    "hostile not allowed": (
        "not_allowed.html",
        NotAllowedPage(EVIL, HOSTILE, HOSTILE + "@", HOSTILE, "/t/evil/login", "default", HOSTILE, (EVIL,)),
        HOSTILE_CHROME,
    ),
    "hostile account": (
        "account.html",
        AccountPage(
            (account_login(EVIL, text=HOSTILE),),
            (EVIL,),
            "",
            1,
            (replace(RECENT[2], tenant=HOSTILE, reason=HOSTILE),),
        ),
        HOSTILE_CHROME,
    ),
}
HOSTILE_PAGES |= hostile_pages(HOSTILE, HOSTILE_CHROME)
EVERY = MINIMAL | FULL | usual_pages(SIGNED_IN_CHROME) | HOSTILE_PAGES
