"""Which front end serves a path, and where a sign-in leads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from portal.config.front_ends import FrontEnd
from portal.errors import StartupError
from portal.tenancy.model import Tenant
from portal.web.front_ends.service import FrontEnds, FrontEndTarget
from portal.web.sites import Site

DESK = FrontEnd("/desk", Path("dist"), home="/desk/{tenant}/")
TOOLS = FrontEnd("/apps/tools", Path("tools"))
OF_ACME = FrontEnd(directory=Path("acme"))
GLOBEX = Tenant("globex", "Globex", {}, "1")
TENANTS = {"acme": replace(GLOBEX, slug="acme", front_end=OF_ACME), "globex": GLOBEX}
SHARED, AT_ACME, AT_GLOBEX = (
    Site("https://portal.example", None),
    Site("https://portal.acme.example", "acme"),
    Site("https://portal.globex.example", "globex"),
)


@pytest.fixture
def front_ends() -> Iterator[FrontEnds]:
    made = FrontEnds({"desk": DESK, "tools": TOOLS}, TENANTS.get)
    yield made
    asyncio.run(made.close())


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/desk", FrontEndTarget(DESK, "")),
        ("/desk/", FrontEndTarget(DESK, "/")),
        ("/desk/acme/orders", FrontEndTarget(DESK, "/acme/orders")),
        ("/apps/tools/x.js", FrontEndTarget(TOOLS, "/x.js")),
        ("/desktop", None),
        ("/apps", None),
        ("/apps/other", None),
        ("/", None),
        ("/t/acme/", None),
        ("*", None),
        ("//desk/", None),
    ],
)
def test_the_shared_site_serves_the_front_ends_of_the_operator(
    front_ends: FrontEnds, path: str, found: FrontEndTarget | None
) -> None:
    assert front_ends.find(SHARED, path) == found
    assert front_ends.find(AT_GLOBEX, path) == found


def test_a_tenants_front_end_has_all_addresses_of_its_host_but_those_of_the_portal(
    front_ends: FrontEnds,
) -> None:
    for path in ("/", "/orders/7", "/favicon.ico", "/apps", "//desk/"):
        assert front_ends.find(AT_ACME, path) == FrontEndTarget(OF_ACME, path)
    assert front_ends.find(AT_ACME, "/desk/") == FrontEndTarget(DESK, "/")
    for path in ("/t/acme/", "/t", "/session", "/static/x.js", "/account", "/.well-known/jwks.json"):
        assert front_ends.find(AT_ACME, path) is None


def test_a_sign_in_leads_to_the_home(front_ends: FrontEnds) -> None:
    assert front_ends.home_of(SHARED, "acme") == "/desk/acme/"
    assert front_ends.home_of(SHARED, "globex") == "/desk/globex/"
    assert front_ends.home_of(AT_GLOBEX, "globex") == "/desk/globex/"
    assert front_ends.home_of(AT_ACME, "acme") == "/"
    without = FrontEnds({"tools": TOOLS}, TENANTS.get)
    assert without.home_of(SHARED, "acme") is None
    assert not without.belongs_to_other("/desk/globex/", "acme")
    asyncio.run(without.close())


@pytest.mark.parametrize(
    ("path", "other"),
    [
        ("/desk/globex/", True),
        ("/desk/globex", True),
        ("/desk/%67lobex/orders", True),
        ("/desk/acme/", False),
        ("/desk/settings", False),
        ("/desk/", False),
        ("/tools/globex/", False),
    ],
)
def test_a_page_with_the_slug_of_another_tenant_belongs_to_it(
    front_ends: FrontEnds, path: str, other: bool
) -> None:
    assert front_ends.belongs_to_other(path, "acme") is other


def test_a_front_end_without_its_page_prevents_start_up(tmp_path: Path) -> None:
    async def start(one: FrontEnd) -> None:
        made = FrontEnds({"desk": one}, TENANTS.get)
        try:
            await made.check([])
        finally:
            await made.close()

    one = replace(DESK, directory=tmp_path / "dist")
    with pytest.raises(StartupError) as caught:
        asyncio.run(start(one))
    assert caught.value.message == f"The front end desk has no index.html in {tmp_path}/dist."
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "index.html").write_text("")
    asyncio.run(start(one))
