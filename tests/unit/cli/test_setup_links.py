"""`portal tenant invite`, `setup-links` and `revoke-setup-link`."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path

import pytest

from portal.cli.main import main
from portal.stores.sqlite.store import SQLiteStore
from portal.stores.tenant_records import Event, SetupLink


@pytest.fixture(autouse=True)
def _deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORTAL_DATABASE", "sqlite:///portal.db")
    monkeypatch.setenv("PORTAL_PUBLIC_URL", "https://portal.example.com")
    Path("tenants").mkdir()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)


class Run:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0) -> str:
        found = main(["tenant", *arguments])
        out, err = self._capsys.readouterr()
        assert found == code, (found, out, err)
        return out if code == 0 else err


def stored() -> tuple[list[SetupLink], list[Event]]:
    async def read() -> tuple[list[SetupLink], list[Event]]:
        store = SQLiteStore(Path("portal.db"))
        await store.open()
        try:
            return await store.tenants.list_setup_links("initech"), await store.tenants.list_events()
        finally:
            await store.close()

    return asyncio.run(read())


def test_the_last_line_is_a_new_link(run: Run) -> None:
    first, second = (run("invite", "initech", "--name", "Bill").splitlines() for _ in range(2))
    assert re.fullmatch(r"https://portal\.example\.com/setup/[A-Za-z0-9_-]{43}", first[-1])
    assert first[-1] != second[-1]
    links, events = stored()
    assert first[0].startswith(f"Setup link {links[1].id} of initech, for Bill: valid until 20")
    assert [link.name for link in links] == ["Bill", "Bill"]
    assert links[0].expires_at == pytest.approx(time.time() + 7 * 86_400, abs=60)
    assert sorted(event.kind for event in events) == ["setup_link_made"] * 2 + ["tenant_added"]
    assert {json.loads(event.actor)["type"] for event in events} == {"operator"}


def test_the_duration_of_a_link_can_be_chosen(run: Run) -> None:
    run("invite", "initech", "--valid", "12h")
    [link], _ = stored()
    assert link.expires_at == pytest.approx(time.time() + 12 * 3600, abs=60)


@pytest.mark.parametrize("valid", ["59m", "91d", "week", "", "7", "-7d", "0d"])
def test_a_duration_that_is_not_allowed_is_refused(run: Run, valid: str) -> None:
    assert "1h to 90d" in run("invite", "initech", f"--valid={valid}", code=2)
    assert not Path("portal.db").exists()


@pytest.mark.parametrize("name", ["a" * 101, "two\nlines", "\x1b[31m"])
def test_a_name_is_one_line(run: Run, name: str) -> None:
    assert "one line of at most 100 characters" in run("invite", "initech", "--name", name, code=2)


def test_links_are_listed_and_revoked(run: Run) -> None:
    assert run("setup-links", "initech") == "initech has no setup links.\n"
    run("invite", "initech", "--name", "Bill")
    run("invite", "initech")
    unnamed, named = run("setup-links", "initech").splitlines()
    assert re.fullmatch(r"[0-9a-f]{12}  not opened  until 20.* UTC  Bill, by operator \S+", named)
    assert "  -, by operator " in unnamed
    id_ = named.split()[0]
    assert run("revoke-setup-link", "initech", id_) == f"Revoked the setup link {id_} of initech.\n"
    assert f"{id_}  revoked " in run("setup-links", "initech")
    assert "no live setup link" in run("revoke-setup-link", "initech", id_, code=1)
    assert "no live setup link" in run("revoke-setup-link", "globex", unnamed.split()[0], code=1)
    assert "There is no such setup link" in run("revoke-setup-link", "initech", "../x", code=1)


def test_no_link_is_made_for_a_tenant_file(run: Run) -> None:
    Path("tenants/initech.yml").touch()
    message = run("invite", "initech", code=1)
    assert message == "This tenant is read-only in the console: the tenant is in tenants/initech.yml\n"
    assert stored() == ([], [])


def test_a_slug_that_is_not_valid_is_refused(run: Run) -> None:
    assert "not a valid tenant name" in run("invite", "../x", code=2)


def test_the_default_url_is_warned_about(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PORTAL_PUBLIC_URL")
    assert main(["tenant", "invite", "initech"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].startswith("http://localhost:8080/setup/")
    assert "URLs use the default http://localhost:8080" in err
