"""Hints of `portal tenant check`."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.tenancy.loading import read_tenant
from tests.unit.tenancy.files import ENVIRON, write
from tests.unit.tenancy.preset_examples import PRESETS, loaded
from tests.unit.tenancy.test_presets import DIRECTORY, ISSUERS, text_of

REFRESH, THIN, GROUPS = (
    "offline_access: ",
    "providers whose ID tokens",
    "Microsoft Entra ID omits groups",
)


def hints(folder: Path, text: str) -> list[str]:
    """Return the hints for a tenant file, with paths relative to the folder."""
    found = read_tenant(write(folder, text), environ=ENVIRON).hints
    return [str(hint).replace(f"{folder}/", "") for hint in found]


def kinds(folder: Path, text: str) -> list[str]:
    return [kind for hint in hints(folder, text) for kind in (REFRESH, THIN, GROUPS) if f": {kind}" in hint]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], [REFRESH, THIN]),
        (["userinfo: true"], [REFRESH]),
        (["userinfo: false"], [REFRESH]),
        (["authorize_params: {prompt: consent}"], [THIN]),
        (["authorize_params: {prompt: login consent}"], [THIN]),
        (["authorize_params: {prompt: login}"], [REFRESH, THIN]),
        (["scopes: [openid, profile]"], [THIN]),
    ],
)
def test_a_generic_provider_may_need_consent_or_userinfo(
    tmp_path: Path, lines: list[str], expected: list[str]
) -> None:
    assert kinds(tmp_path, text_of("generic", "domain: id.example", *lines)) == expected


@pytest.mark.parametrize("preset", PRESETS[:-1])
def test_a_known_provider_causes_no_hints(tmp_path: Path, preset: str) -> None:
    assert loaded(tmp_path, preset).hints == ()


@pytest.mark.parametrize(
    ("lines", "expected_hint"),
    [
        (["claims: {roles: groups}"], True),
        (["claims: {show: [email, groups]}"], True),
        (["claims: {roles: roles, show: [email]}"], False),
        (["label: groups"], False),
    ],
)
@pytest.mark.parametrize("preset", ["entra", "keycloak"])
def test_a_hint_mentions_entra_groups_if_the_file_uses_them(
    tmp_path: Path, preset: str, lines: list[str], expected_hint: bool
) -> None:
    expected = [GROUPS] if expected_hint and preset == "entra" else []
    assert kinds(tmp_path, text_of(preset, *ISSUERS[preset], *lines)) == expected


def test_a_hint_has_the_position_of_its_key_in_its_provider(tmp_path: Path) -> None:
    text = (
        "name: Acme\nclaims: {roles: groups}\nproviders:\n"
        "  staff: {preset: entra, domain: common, client: {id: a, auth: none},\n"
        f"          tenant_ids: [{DIRECTORY}]}}\n"
        "  guests: {issuer: https://b.example, scopes: [openid, offline_access], userinfo: true,\n"
        "           client: {id: b, auth: none}}\n"
    )
    (groups, refresh) = hints(tmp_path, text)
    assert groups.startswith(f"acme.yaml:4:19: {GROUPS}")
    assert refresh.startswith(f"acme.yaml:6:47: {REFRESH}")
