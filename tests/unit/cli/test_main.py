"""The command line: its output and exit codes."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from portal.cli import main as cli
from portal.clock import now
from portal.config.settings import Settings
from portal.errors import StartupError, StoreUnavailable
from portal.sessions.registrations import LiveRegistrations, Registration, RegistrationUpkeep
from portal.stores.by_url import store_for
from portal.tenancy.reference import tenant_schema_text
from portal.tenancy.removals import acceptance_key

VERSION = version("tenant-portal")
ROOT = Path(__file__).resolve().parent.parents[3]
ACME = """\
name: Acme Corporation
issuer: https://login.acme.example
client: {id: portal, secret: "${ACME_SECRET}"}
"""


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in an empty folder, without PORTAL_* variables except `environ`."""
    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if name.startswith("PORTAL_") or name.endswith("_SECRET"):
            monkeypatch.delenv(name)

    def run_once(*arguments: str, environ: Mapping[str, str] | None = None) -> Outcome:
        with monkeypatch.context() as context:
            for name, value in (environ or {}).items():
                context.setenv(name, value)
            code = cli.main(arguments)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run_once


def write(name: str, text: str = ACME) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


# --- tenant check


def test_check_reports_each_file_and_all_problems(run: Run) -> None:
    write("tenants/acme.yaml")
    write(
        "tenants/bad.yaml", "name: Bad\nissuer: https://bad.example\nclient: {id: 1, auth: none}\nnmae: 1\n"
    )
    outcome = run("tenant", "check", environ={"ACME_SECRET": "x"})
    assert outcome.code == 2
    assert outcome.err == ""
    assert outcome.out.splitlines() == [
        "✓ tenants/acme.yaml  Acme Corporation",
        "✗ tenants/bad.yaml",
        "  tenants/bad.yaml:3:14: client.id must be text, found a number; put it in quotes",
        "    client: {id: x, auth: xxxx}",
        "                 ^",
        '  tenants/bad.yaml:4:1: unknown key "nmae"; did you mean "name"?',
        "    xxxx: x",
        "    ^",
        "",
        "1 of 2 tenant files are invalid.",
    ]


def test_check_of_valid_files_exits_with_zero_and_warns_of_secrets_in_clear_text(run: Run) -> None:
    write("acme.yaml", ACME.replace("${ACME_SECRET}", "hunter2"))
    outcome = run("tenant", "check", "acme.yaml")
    assert outcome == Outcome(
        0,
        "✓ acme.yaml  Acme Corporation\n  acme.yaml:3:30: warning: the client secret is in plain text; "
        "write ${NAME} or file:/path instead\n"
        "  acme.yaml:1:1: hint: offline_access: some providers issue a refresh token only with "
        "authorize_params: {prompt: consent}; the log has refresh_token_missing if there was none\n"
        "  acme.yaml:1:1: hint: providers whose ID tokens contain neither name nor e-mail address, such as "
        "LemonLDAP::NG, need userinfo: true; write userinfo: false if yours contain them\n",
        "",
    )


def test_check_accepts_files_and_folders(run: Run) -> None:
    write("one/acme.yaml")
    write("two/globex.yaml", ACME.replace("Acme", "Globex"))
    outcome = run("tenant", "check", "one", "two/globex.yaml", environ={"ACME_SECRET": "x"})
    assert outcome.out.splitlines() == [
        "✓ one/acme.yaml  Acme Corporation",
        "✓ two/globex.yaml  Globex Corporation",
    ]


def test_check_reports_conflicts_between_tenants(run: Run) -> None:
    write("tenants/a.yaml", ACME + "hosts: [x.example, localhost]\n")
    write("tenants/b.yaml", ACME + "hosts: [y.example]\n")
    write("tenants/c.yaml", ACME + "hosts: [y.example]\n")
    write("tenants/c.yml", ACME)
    outcome = run("tenant", "check", environ={"ACME_SECRET": "x"})
    assert outcome.code == 2
    assert outcome.out.splitlines()[:-2] == [
        "✗ tenants/a.yaml",
        "  tenants/a.yaml:4:20: hosts contains a name that is reserved for the portal",
        "    hosts: [x.xxxxxxx, xxxxxxxxx]",
        "                       ^",
        "✓ tenants/b.yaml  Acme Corporation",
        "✗ tenants/c.yaml",
        "  tenants/c.yaml:4:9: hosts contains a name that already belongs to the tenant b",
        "    hosts: [x.xxxxxxx]",
        "            ^",
        "✗ tenants/c.yml",
        "  tenants/c.yml: is for the same tenant as tenants/c.yaml; remove one of the two",
    ]


def test_check_uses_the_settings(run: Run) -> None:
    write("portal.yaml", "tenants: elsewhere\nallow_private_networks: true\n")
    write("elsewhere/acme.yaml", ACME + "api: {base_url: http://localhost:9000}\n")
    assert run("tenant", "check", "--config", "portal.yaml", environ={"ACME_SECRET": "x"}).code == 0
    strict = run("tenant", "check", "elsewhere", environ={"ACME_SECRET": "x"})
    assert strict.code == 2
    assert "elsewhere/acme.yaml:4:17: api.base_url must be an https URL" in strict.out


def test_check_without_files_reports_that(run: Run) -> None:
    Path("tenants").mkdir()
    assert run("tenant", "check") == Outcome(0, "No tenant file found in tenants.\n", "")
    assert run("tenant", "check", "nope") == Outcome(2, "", "nope: there is no such file or folder\n")


# --- tenant list, new, schema, reference


def test_list_prints_the_tenants(run: Run) -> None:
    write("tenants/acme.yaml", ACME + "api: {base_url: https://api.acme.example}\n")
    write("tenants/bad.yaml", "[")
    write(
        "tenants/many.yaml",
        "name: Many\nproviders:\n"
        "  staff: {issuer: https://staff.example, client: {id: a, auth: none}}\n"
        "  guests: {issuer: https://guests.example, client: {id: b, auth: none}}\n",
    )
    outcome = run("tenant", "list", environ={"ACME_SECRET": "x"})
    assert outcome.code == 0
    assert [line.split() for line in outcome.out.splitlines()] == [
        ["tenant", "name", "provider", "issuer", "API"],
        ["acme", "Acme", "Corporation", "default", "https://login.acme.example", "https://api.acme.example"],
        ["bad", "✗", "see:", "portal", "tenant", "check"],
        ["many", "Many", "staff", "https://staff.example"],
        ["guests", "https://guests.example"],
    ]


def test_new_writes_a_file_that_lacks_only_client_id_and_secret(run: Run) -> None:
    outcome = run("tenant", "new", "acme-eu", "--preset", "auth0")
    assert outcome.code == 0
    assert "Wrote tenants/acme-eu.yaml" in outcome.out
    path = Path("tenants/acme-eu.yaml")
    path.write_text(path.read_text().replace('"the client id"', "3gT9wQvX"))
    checked = run("tenant", "check")
    assert checked.code == 0
    assert [line.split("needs ", 1)[-1] for line in checked.out.splitlines() if "needs" in line] == [
        "the file /run/secrets/acme-eu, which is missing here; the portal needs it"
    ]
    write("secrets/acme-eu", "s3cret-of-the-client")
    text = path.read_text()
    path.write_text(text.replace("file:/run/secrets/acme-eu", f"file:{Path('secrets/acme-eu').absolute()}"))
    assert "needs" not in run("tenant", "check").out
    assert Path("tenants/tenant.schema.json").read_text() == tenant_schema_text()


@pytest.mark.parametrize("present", ["acme.yaml", "acme.yml"])
def test_new_never_overwrites(run: Run, present: str) -> None:
    write(f"tenants/{present}", "mine")
    outcome = run("tenant", "new", "acme")
    assert outcome == Outcome(2, "", f"tenants/{present}: exists already; nothing was written\n")
    assert os.listdir("tenants") == [present]
    assert Path(f"tenants/{present}").read_text() == "mine"


@pytest.mark.parametrize("slug", ["../evil", "Acme", "a/b", "", "a.b", "-a", "/etc/evil"])
def test_new_accepts_only_slugs(run: Run, slug: str, tmp_path: Path) -> None:
    outcome = run("tenant", "new", "--", slug)
    assert outcome.code == 2
    expected = "is not a valid tenant name: use lower-case letters, digits and hyphens, at most 63"
    assert expected in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_new_that_cannot_write_prints_a_remedy(run: Run) -> None:
    write("tenants", "a file, not a folder")
    outcome = run("tenant", "new", "acme")
    assert outcome.code == 3
    assert outcome.err.splitlines() == [
        "The file tenants/acme.yaml cannot be written: File exists.",
        "Make the folder writable, or set `tenants` or PORTAL_TENANTS to another folder.",
    ]


def test_reload_lists_tenants_without_a_file_and_confirms_their_removal(run: Run) -> None:
    write("tenants/acme.yaml")
    Path("var").mkdir()
    complete = run("tenant", "reload")
    assert complete.code == 0
    assert "Every served tenant has a file." in complete.out

    async def serve_elsewhere(*slugs: str) -> None:
        store = store_for("sqlite:///var/portal.db")
        await store.open()
        live = [Registration(slug, "default", "r" * 64) for slug in slugs]
        upkeep = RegistrationUpkeep(
            store,
            serving=lambda: LiveRegistrations(live),
            confirms_removal=lambda lost, of: NotImplemented,
            clock=now,
        )
        await upkeep.update()
        await store.close()

    async def is_accepted(*slugs: str) -> bool:
        store = store_for("sqlite:///var/portal.db")
        await store.open()
        try:
            return await store.is_remembered(acceptance_key(slugs), now=now())
        finally:
            await store.close()

    asyncio.run(serve_elsewhere("acme", *(f"t{number:02}" for number in range(30))))
    report = run("tenant", "reload").out.splitlines()
    assert report[1].startswith("Served without a file, or just removed: t00, t01, ")
    assert report[1].endswith(", t19 and 10 more.")
    assert not asyncio.run(is_accepted("acme"))
    for _ in range(2):
        assert run("tenant", "reload", "--accept-removals").code == 0
        assert asyncio.run(is_accepted("acme"))
    assert not asyncio.run(is_accepted())
    assert not asyncio.run(is_accepted("acme", "t00"))


def test_reload_without_folder_or_database_prints_a_remedy(run: Run) -> None:
    missing = run("tenant", "reload")
    assert missing.code == 2
    assert missing.err.startswith("tenants: the folder of tenant files cannot be read: No such file")
    write("tenants/acme.yaml")
    Path("var").write_text("a file where the folder of the database should be")
    refused = run("tenant", "reload")
    assert refused.code == 3
    assert refused.err.startswith("The database cannot be used: ")


def test_schema_and_references_are_printed(run: Run) -> None:
    schema = run("tenant", "schema")
    assert (schema.code, schema.err) == (0, "")
    assert json.loads(schema.out)["title"] == "Tenant"
    assert run("tenant", "reference").out.startswith("# The tenant file\n")
    assert run("settings", "reference").out.startswith("# Settings\n")


# --- keys


def test_keys_are_created_listed_and_rotated_and_never_printed(run: Run) -> None:
    missing = run("key", "list")
    assert missing.code == 2
    assert missing.err.startswith("var/keys.json: is missing; ")
    assert run("key", "new").code == 0
    assert run("key", "new").code == 2
    rotated = run("key", "rotate")
    assert rotated.code == 0
    listed = run("key", "list")
    old, new, *client_keys = listed.out.splitlines()
    assert old.endswith("  decrypts")
    assert new.endswith("  encrypts and decrypts")
    assert new.split()[0] in rotated.out
    assert len(client_keys) == 12
    for key in json.loads(Path("var/keys.json").read_text())["keys"]:
        for part in {"k", "d", "p", "q"} & key.keys():
            assert key[part] not in listed.out + rotated.out


# --- serve and demo


def test_serve_passes_the_settings_and_returns_the_exit_code(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import portal.serving

    served = []

    def serve(settings: Settings, **options: object) -> int:
        served.append(settings)
        return 7

    monkeypatch.setattr(portal.serving, "serve", serve)
    write("conf/portal.yaml", "public_url: https://portal.example\n")
    assert run("serve", "--config", "conf/portal.yaml").code == 7
    assert run("serve", environ={"PORTAL_CONFIG": "conf/portal.yaml"}).code == 7
    assert run("serve").code == 7
    assert [settings.public_url for settings in served] == [
        "https://portal.example",
        "https://portal.example",
        "http://localhost:8080",
    ]


def test_demo_passes_its_options(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import portal.demo.run

    ran = []

    def run_demo(
        data: Path | None, listen: str, *, public_url: str | None = None, front_end: str | None = None
    ) -> int:
        ran.append((data, listen, public_url, front_end))
        return 0

    monkeypatch.setattr(portal.demo.run, "run_demo", run_demo)
    assert run("demo").code == 0
    assert run("demo", "--data", "d", "--listen", "127.0.0.1:1").code == 0
    assert run("demo", "--public-url", "http://localhost:9", "--front-end", "dist").code == 0
    assert ran == [
        (None, "127.0.0.1:8080", None, None),
        (Path("d"), "127.0.0.1:1", None, None),
        (None, "127.0.0.1:8080", "http://localhost:9", "dist"),
    ]


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (StartupError("It is in use.", remedy="Choose another."), 3, ["It is in use.", "Choose another."]),
        (StoreUnavailable("no response"), 1, ["The portal is temporarily unavailable: no response"]),
        (KeyboardInterrupt(), 130, []),
    ],
)
def test_an_error_is_a_message_and_a_code_and_never_a_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, lines: list[str]
) -> None:
    import portal.serving

    def serve(settings: object, **options: object) -> int:
        raise error

    monkeypatch.setattr(portal.serving, "serve", serve)
    outcome = run("serve")
    assert (outcome.code, outcome.out) == (code, "")
    assert [line for line in outcome.err.splitlines() if line] == lines


def test_every_wrong_setting_is_reported_in_one_line(run: Run) -> None:
    outcome = run("serve", environ={"PORTAL_LISTN": "x", "PORTAL_PROCESSES": "x"})
    assert outcome == Outcome(
        2,
        "",
        'PORTAL_LISTN: unknown variable; did you mean "PORTAL_LISTEN"?\n'
        "PORTAL_PROCESSES: processes must be a whole number, found text\n",
    )


def test_wrong_usage_is_explained(run: Run) -> None:
    outcome = run("tenant", "chek")
    assert outcome.code == 2
    assert "No such command 'chek'" in outcome.err
    assert run("--version") == Outcome(0, f"portal {VERSION}\n", "")
    assert "serve" in run("--help").out
