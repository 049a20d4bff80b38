"""Which front end serves a path, and where a sign-in leads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from portal.config.front_ends import FrontEnd
from portal.errors import StartupError
from portal.tenancy.model import Tenant
from portal.web.front_ends import files, service
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
            await made.check()
        finally:
            await made.close()

    one = replace(DESK, directory=tmp_path / "dist")
    with pytest.raises(StartupError) as caught:
        asyncio.run(start(one))
    assert caught.value.message == f"The front end desk has no index.html in {tmp_path}/dist."
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "index.html").write_text("")
    asyncio.run(start(one))


def test_a_disk_that_hangs_prevents_start_up_with_another_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_SECONDS", 0.05)

    async def start(end: threading.Event) -> None:
        monkeypatch.setattr(files, "_locate", lambda *_: end.wait())
        made = FrontEnds({"desk": replace(DESK, directory=tmp_path)}, TENANTS.get)
        try:
            await made.check()
        finally:
            end.set()
            await made.close()

    with pytest.raises(StartupError, match="does not respond"):
        asyncio.run(start(threading.Event()))


def test_hung_disks_of_many_tenants_are_reported_within_one_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_CHECK_SECONDS", 2.0)
    end = threading.Event()
    located = files._locate

    def hanging(root: str, relative: str) -> object:
        if Path(root).name.startswith("hung"):
            end.wait()
        return located(root, relative)

    monkeypatch.setattr(files, "_locate", hanging)
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "index.html").write_text("")
    names = ["missing", "whole", *(f"hung{number}" for number in range(20))]
    tenants = [replace(GLOBEX, slug=name, front_end=FrontEnd(directory=tmp_path / name)) for name in names]

    async def check() -> None:
        made = FrontEnds({}, TENANTS.get)
        try:
            async with asyncio.timeout(20.0):  # one after the other takes 200 seconds
                await made.check_tenants([*tenants, GLOBEX])
        finally:
            end.set()
            await made.close()

    with capture_logs() as lines:
        asyncio.run(check())
    events = {line["tenant"]: line["event"] for line in lines}
    hung = dict.fromkeys(names[2:], "front_end_unresponsive")
    assert events == {"missing": "front_end_missing", **hung}
