"""`portal tenant import`, `export`, `diff`, `history`, `rollback`, `suspend`, `resume` and `remove`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from portal.admin.events import Act
from portal.admin.tenants import TenantAdmin
from portal.cli.main import main
from portal.keys.key_ring import KeyRing
from portal.stores.model import Login
from portal.stores.sqlite.store import SQLiteStore
from portal.stores.tenant_records import Revision
from portal.tenancy.checks.files import check_files
from portal.tenancy.loading import LoadedTenant
from tests.kit.samples import sample_login, sample_session

ACME = """\
name: Acme
issuer: https://login.acme.example
client: {id: portal, secret: "${ACME_SECRET}"}
email_domains: [acme.example]
"""


@pytest.fixture(autouse=True)
def _deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORTAL_DATABASE", "sqlite:///portal.db")
    monkeypatch.setenv("PORTAL_KEYS", "keys.json")
    monkeypatch.setenv("ACME_SECRET", "hunter2")
    KeyRing.create(Path("keys.json"))
    Path("tenants").mkdir()
    Path("acme.yaml").write_text(ACME, encoding="utf-8")


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
        return out + err


def change(old: str, new: str) -> None:
    path = Path("acme.yaml")
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def test_a_tenant_is_imported_compared_exported_and_rolled_back(run: Run) -> None:
    assert run("import", "acme.yaml").startswith(
        "Published acme as revision 1. Every portal on this database"
    )
    assert run("diff", "acme", "acme.yaml") == "acme.yaml is the same as the live revision.\n"
    change("name: Acme", "name: Acme Ltd")
    assert "-name: Acme\n+name: Acme Ltd" in run("diff", "acme", "acme.yaml", code=1)
    assert "revision 2" in run("import", "acme.yaml", "--reason", "a new name")
    exported = run("export", "acme")
    assert "name: Acme Ltd" in exported
    assert "hunter2" not in exported
    assert "ACME_SECRET" not in exported
    Path("exported.yaml").write_text(exported.replace("Acme Ltd", "Acme Inc"), encoding="utf-8")
    assert "revision 3" in run("import", "exported.yaml", "--slug", "acme"), "it keeps the secret"
    assert "Published revision 1 of acme again, as revision 4." in run("rollback", "acme", "1")
    lines = run("history", "acme").splitlines()
    assert lines[0] == "acme: live"
    assert [line.split()[0] for line in lines[1:]] == ["4", "3", "2", "1"]
    assert " live " in lines[1]
    assert lines[3].endswith(": a new name")
    assert run("export", "acme", "--revision", "1") == run("export", "acme")


def test_a_tenant_is_suspended_resumed_and_removed(run: Run) -> None:
    run("import", "acme.yaml")
    assert run("suspend", "acme", "--keep-logins").startswith("acme accepts no new sign-ins")
    assert run("suspend", "acme").startswith("acme is suspended; ended 0 logins. Portals follow")
    assert run("history", "acme").startswith("acme: suspended")
    assert run("resume", "acme").startswith("acme is open. Portals follow")
    assert run("resume", "acme") == "acme is open. Nothing changed.\n"
    assert run("remove", "acme", "--yes").startswith("Removed acme; ended 0 logins.")
    assert "There is no such tenant in the database" in run("history", "acme", code=1)


def test_a_file_of_the_same_name_is_reported(run: Run) -> None:
    Path("tenants/acme.yaml").write_text(ACME, encoding="utf-8")
    assert "tenants/acme.yaml is served in its place: remove that file." in run("import", "acme.yaml")


def test_logins_stay_while_a_tenant_moves_between_a_file_and_the_database(run: Run) -> None:
    file = Path("tenants/acme.yaml")
    file.write_text(ACME, encoding="utf-8")
    (checked,) = check_files((file,), allow_private_networks=False, environ={"ACME_SECRET": "hunter2"})
    assert checked.tenant is not None
    provider = checked.tenant.default_provider
    login = sample_login(
        provider=provider.id,
        registration=provider.registration,
        issuer=provider.issuer,
        signed_in_at=1e9,
        expires_at=2e9,
    )
    asyncio.run(_store_login(login))
    run("import", "acme.yaml")
    assert run("remove", "acme", "--yes") == "Removed acme from the database; tenants/acme.yaml is served.\n"
    run("import", "acme.yaml")
    file.unlink()
    assert run("remove", "acme", "--yes").startswith("Removed acme; ended 1 logins."), "it stayed until now"


async def _store_login(login: Login) -> None:
    store = SQLiteStore(Path("portal.db"))
    await store.open()
    await store.add_session(
        sample_session(id=login.session, idle_expires_at=2e9, absolute_expires_at=2e9), login=login
    )
    await store.close()


def test_a_domain_of_another_tenant_is_reported(run: Run) -> None:
    run("import", "acme.yaml")
    again = run("import", "acme.yaml", "--slug", "globex")
    assert "acme.example belongs to acme and does not count for globex." in again


def test_an_import_approves_its_own_domains_only(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An admin of the tenant publishes between the import and its approvals."""
    publish = TenantAdmin.publish

    async def publish_both(
        self: TenantAdmin, slug: str, typed: str, act: Act, *, resolve: Callable[[str], str]
    ) -> tuple[Revision, LoadedTenant]:
        imported = await publish(self, slug, typed, act, resolve=resolve)
        await publish(self, slug, typed.replace("acme.example]", "bank.example]"), act, resolve=resolve)
        return imported

    monkeypatch.setattr(TenantAdmin, "publish", publish_both)
    run("import", "acme.yaml")
    assert asyncio.run(_claims()) == ["acme.example"]


async def _claims() -> list[str]:
    store = SQLiteStore(Path("portal.db"))
    await store.open()
    claims = await store.tenants.list_domains()
    await store.close()
    return [claim.name for claim in claims]


def test_a_domain_of_a_served_tenant_is_reported(run: Run) -> None:
    async def record() -> None:
        store = SQLiteStore(Path("portal.db"))
        await store.open()
        await store.put_meta("name-owners", '{"globex":[["email_domains","acme.example"]]}')
        await store.close()

    asyncio.run(record())
    assert "acme.example belongs to globex and does not count for acme." in run("import", "acme.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: Acme", "nmae: Acme", 'acme.yaml:1:1: unknown key "nmae"; did you mean "name"?'),
        ("https://login.acme.example", "http://localhost:1", "acme.yaml:2:9: issuer "),
        ("${ACME_SECRET}", "${GONE_SECRET}", "acme.yaml:3:30: needs the environment variable GONE_SECRET"),
        ("${ACME_SECRET}", "file:/gone/secret", "acme.yaml:3:30: needs the file /gone/secret"),
        ("[acme.example]", "[acme.example", "acme.yaml:4:16: the [ that begins here is not closed by ]"),
    ],
)
def test_an_invalid_file_is_refused_and_nothing_is_published(
    run: Run, old: str, new: str, message: str
) -> None:
    change(old, new)
    assert message in run("import", "acme.yaml", code=2)
    assert "There is no such tenant" in run("history", "acme", code=1)


def test_a_name_that_is_none_is_refused(run: Run) -> None:
    assert "is not a valid tenant name" in run("import", "acme.yaml", "--slug", "../x", code=2)


def test_each_command_explains_itself() -> None:
    from portal.cli.stored_tenants import COMMANDS

    for command in COMMANDS:
        shown = CliRunner().invoke(command, ["--help"]).output
        assert "Options:" in shown
        assert command.help
