"""Where client secrets come from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from portal.config.secret_references import MAX_SECRET_BYTES, is_reference
from portal.secret import Secret
from portal.tenancy.loading import TenantFileRejected, read_tenant
from tests.unit.tenancy.files import ACME, problems, tenant, write


def text_of(secret: str) -> str:
    return ACME.replace("${ACME_SECRET}", secret)


def secret_of(folder: Path, written: str, environ: dict[str, str] | None = None) -> Secret | None:
    return tenant(folder, text_of(written), environ=environ or {}).default_provider.client_secret


def test_a_secret_comes_from_the_environment(tmp_path: Path) -> None:
    assert secret_of(tmp_path, "${A_1}", {"A_1": "s3cret $x"}) == Secret("s3cret $x")


@pytest.mark.parametrize("content", ["s3cret", "s3cret\n", "s3cret\r\n"])
def test_a_secret_comes_from_a_file_without_its_last_line_break(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret").write_bytes(content.encode())
    assert secret_of(tmp_path, f"file:{tmp_path}/secret") == Secret("s3cret")


def test_a_relative_secret_file_is_relative_to_the_tenant_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "acme").write_text("s3cret")
    monkeypatch.chdir("/")
    assert secret_of(tmp_path / "tenants", "file:../secrets/acme") == Secret("s3cret")


def test_a_secret_may_be_in_clear_text(tmp_path: Path) -> None:
    assert secret_of(tmp_path, '"hunter2 ${A}"') == Secret("hunter2 ${A}")


def test_spaces_around_a_secret_in_a_file_belong_to_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(" s3cret \n")
    assert secret_of(tmp_path, "file:secret") == Secret(" s3cret ")


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("${hunter2}", "needs an environment variable, which is not set; set it and start the portal again"),
        ("${PORTAL_hunter2}", "names a variable, which is reserved for settings of the portal; "
         "choose another name"),
        ("file:/run/nowhere/acme", "needs the file /run/nowhere/acme: there is no such file"),
        ("file:hunter2", "needs a file in the folder of the tenant file: there is no such file"),
        ("${NOT_SET}", "needs the environment variable NOT_SET, which is not set; "
         "set it and start the portal again"),
        ("${EMPTY}", "needs the environment variable EMPTY, which is empty"),
        ("${two-parts}", "names no variable: write ${NAME} with letters, digits and _"),
        ("${}", "names no variable: write ${NAME} with letters, digits and _"),
        ("${PORTAL_DATABASE}", "names PORTAL_DATABASE, which is reserved for settings of the portal; "
         "choose another name"),
        ("${PORTAL_X}", "names PORTAL_X, which is reserved for settings of the portal; choose another name"),
        ("${LINES}", "is not usable: the variable must hold one line of visible characters"),
        ("file:none", "needs a file in the folder of the tenant file: there is no such file"),
        ('"file:"', "names no file: write file:/run/secrets/acme"),
        ('"file:a\\0b"', "names no file: write file:/run/secrets/acme"),
        ("file:empty", "needs a file in the folder of the tenant file, which is empty"),
        ("file:lines", "is not usable: the file must hold one line of visible characters"),
        ("file:latin", "needs a file in the folder of the tenant file, which is not UTF-8 text"),
        ("file:large", "needs a file in the folder of the tenant file: is larger than 16 KB"),
        ("file:pipe", "needs a file in the folder of the tenant file: is not a regular file"),
        ("file:.", "needs a file in the folder of the tenant file, which is a folder"),
        ('""', "is not usable: it must hold one line of visible characters"),
        ("7", "must be text: ${NAME}, file:/path, or a secret in quotes"),
    ],
)  # fmt: skip
def test_a_secret_that_cannot_be_read_is_reported_without_its_value(
    tmp_path: Path, written: str, problem: str
) -> None:
    for name, content in (
        ("empty", b"\n"),
        ("lines", b"hunter2\nhunter3\n"),
        ("latin", b"hunter2\xe4"),
        ("large", b"hunter2".ljust(MAX_SECRET_BYTES + 1, b"x")),
    ):
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe")
    path = write(tmp_path, text_of(written))
    environ = {"EMPTY": "", "LINES": "hunter2\nhunter3", "PORTAL_DATABASE": "mongodb://portal:hunter2@db/"}
    found = problems(tmp_path, path.read_text(), environ=environ)
    expected = problem.replace("{folder}/", "").replace("{folder}", str(tmp_path))
    assert found == [f"acme.yaml:5:11: client.secret {expected}"]
    assert "hunter" not in str(found)


def test_a_variable_whose_name_only_resembles_a_setting_is_a_secret(tmp_path: Path) -> None:
    for name in ("MY_PORTAL_SECRET", "PORTALS", "portal_database"):
        assert secret_of(tmp_path, f"${{{name}}}", {name: "s3cret"}) == Secret("s3cret")


def test_secret_files_are_known_even_if_one_is_missing(tmp_path: Path) -> None:
    text = text_of("file:a").replace("name: Acme Corporation\n", "")
    path = write(tmp_path, text)
    with pytest.raises(TenantFileRejected, match="there is no such file") as caught:
        read_tenant(path, environ={})
    assert caught.value.secret_files == (tmp_path / "a",)


@pytest.mark.parametrize(
    ("written", "reference"),
    [("${A}", True), ("${a-b}", True), ("file:/a", True), ("hunter2", False), ("a${A}", False), (7, False)],
)
def test_references_are_distinguished_from_secrets(written: object, reference: bool) -> None:
    assert is_reference(written) is reference


def test_a_misplaced_secret_is_not_quoted(tmp_path: Path) -> None:
    for text in (
        ACME.replace("client:\n  id: portal\n  secret: ${ACME_SECRET}\n", "client: hunter2\n"),
        ACME + "  token: hunter2\n",
        ACME.replace("secret: ${ACME_SECRET}", "secret: {valeu: hunter2}"),
        ACME.replace("secret: ${ACME_SECRET}", "secret: !x hunter2"),
        ACME.replace("secret: ${ACME_SECRET}", 'secret: "hunter2'),
        ACME + "audience: {a: hunter2}\n",
    ):
        found = problems(tmp_path, text)
        assert found
        assert "hunter2" not in str(found)
