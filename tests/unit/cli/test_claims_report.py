"""`portal tenant check --claims`: its report on claims and tokens."""

from __future__ import annotations

import base64
import json
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from portal.cli import main as cli
from tests.unit.tenancy.files import ACME, write

RULES = """\
access:
  require:
    - {claim: email, ends_with: "@acme.example", verified_by: email_verified}
    - {claim: roles, contains: staff}
  paths:
    - {path: /admin/, require: [{claim: roles, contains: admin}]}
"""
GOOD = {"iss": "https://login.acme.example/realms/staff", "email": "ada@acme.example", "email_verified": True}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACME_SECRET", "s3cret-of-acme")
    monkeypatch.chdir(tmp_path)
    write(tmp_path, ACME + RULES)
    return tmp_path


def check(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], str]:
    code = cli.main(["tenant", "check", "acme.yaml", "--claims", *arguments])
    captured = capsys.readouterr()
    return code, [line.strip() for line in captured.out.splitlines()], captured.err


def token(claims: dict[str, object]) -> str:
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJSUzI1NiJ9.{part}.c2VjcmV0c2lnbmF0dXJl"


def test_each_rule_is_explained(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "claims.json").write_text(json.dumps({**GOOD, "roles": ["staff"]}))
    code, lines, _ = check(capsys, "claims.json")
    assert code == 0
    start = next(number for number, line in enumerate(lines) if line.startswith("Access rules of acme"))
    assert lines[start:] == [
        "Access rules of acme for these claims. No signature, time or audience was checked.",
        "provider default, https://login.acme.example/realms/staff",
        '✓ email must end with "@acme.example", and email_verified must be true',
        '✓ roles must be a list with "staff"',
        "→ may sign in",
        "/admin/",
        '✗ roles must be a list with "admin"',
        'found a list of 1 without it; roles is ["staff"]',
    ]


def test_a_token_from_standard_input_is_read_and_its_signature_not_shown(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = token({**GOOD, "iss": "https://other.example", "email": "ada@\u0430cme.example", "roles": "staff"})
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(f"Bearer {text}\n".encode())))
    code, lines, errors = check(capsys, "-")
    assert code == 0
    assert '! the claims have another issuer: "https://other.example"' in lines
    assert "→ may not sign in" in lines
    found = "found text with characters other than printable ASCII; email is "
    assert f'{found}"ada@\\u0430cme.example"' in lines
    assert 'found text, not a list; roles is "staff"' in lines
    assert "/admin/" not in lines
    for part in text.split("."):
        assert part not in "".join(lines) + errors


@pytest.mark.parametrize("text", ["", "hunter2", "a.b.c", "{", '{"a": hunter2}', "a.b.c.d.e", "é", "[1]"])
def test_input_that_is_neither_json_nor_a_token_is_refused_without_quoting_it(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (folder / "claims").write_text(text)
    code, lines, errors = check(capsys, "claims")
    assert code == 2
    assert not lines
    assert errors.startswith("claims: holds neither claims as a JSON object nor a signed token: ")
    assert "hunter2" not in errors
    code, _, errors = check(capsys, "missing")
    assert (code, errors) == (2, "missing: cannot be read: No such file or directory\n")


def test_a_long_value_is_truncated(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "claims").write_text(json.dumps({**GOOD, "roles": ["x" * 5000]}))
    _, lines, _ = check(capsys, "claims")
    assert max(map(len, lines)) < 200


def test_a_tenant_without_rules_is_reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, ACME)
    (folder / "claims").write_text("{}")
    _, lines, _ = check(capsys, "claims")
    everyone = "✓ every account of this provider may sign in: there are no rules"
    assert lines[-2:] == [everyone, "→ may sign in"]
