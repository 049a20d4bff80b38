"""Presets from the operator's folder and from installed packages."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from portal.errors import ConfigurationError
from portal.tenancy import registry as registry_module
from portal.tenancy.available_presets import available_presets, check_provider
from portal.tenancy.checks.files import check_files
from portal.tenancy.loading import read_tenant
from portal.tenancy.presets import Hooks, Presets, built_in
from portal.tenancy.registry import Registry
from tests.unit.tenancy.files import ENVIRON, write
from tests.unit.tenancy.test_preset_files import ACME_SSO
from tests.unit.tenancy.test_watch import until

TENANT = """\
name: Acme
preset: acme-sso
fields: {region: eu-1}
client: {id: portal, secret: s3cret}
"""


def presets_in(folder: Path, **files: str) -> Presets:
    """A catalog with a folder that has these files; `_` in a name is `-`."""
    for name, text in files.items():
        write(folder / "presets", text, f"{name.replace('_', '-')}.yaml")
    (folder / "presets").mkdir(exist_ok=True)
    return available_presets(folder / "presets")


def issuer(folder: Path, presets: Presets, text: str = TENANT) -> str:
    return read_tenant(write(folder, text), environ=ENVIRON, presets=presets).tenant.default_provider.issuer


def problems(folder: Path, presets: Presets, text: str = TENANT) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        issuer(folder, presets, text)
    return [str(problem).replace(f"{folder}/", "") for problem in raised.value.problems]


def settle(path: Path, seconds: float = 10) -> None:
    """Make a file look as if it was changed a while ago, so that its time of modification counts."""
    os.utime(path, (time.time() - seconds,) * 2)


# --- the operator's folder


def test_a_tenant_file_can_name_a_preset_of_the_folder(tmp_path: Path) -> None:
    presets = presets_in(tmp_path, acme_sso=ACME_SSO)
    assert issuer(tmp_path, presets) == "https://eu-1.sso.acme.example"
    assert presets.origin("acme-sso") == "the folder"
    assert presets.names() == [*sorted([*built_in().names()[:-1], "acme-sso"]), "generic"]


def test_without_the_folder_the_name_is_unknown(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, built_in())
    assert problem.startswith("acme.yaml:2:9: preset must be one of: adfs, apple, ")


def test_a_misspelt_preset_of_the_folder_is_recognized(tmp_path: Path) -> None:
    presets = presets_in(tmp_path, acme_sso=ACME_SSO)
    (problem,) = problems(tmp_path, presets, TENANT.replace("acme-sso", "acme-sos"))
    assert 'preset is "acme-sos"; expected one of: acme-sso, adfs, ' in problem
    assert problem.endswith('; did you mean "acme-sso"?')


def test_a_preset_of_the_folder_takes_the_place_of_a_built_in_one(tmp_path: Path) -> None:
    presets = presets_in(tmp_path, okta=ACME_SSO)
    assert issuer(tmp_path, presets, TENANT.replace("acme-sso", "okta")) == "https://eu-1.sso.acme.example"
    assert presets.names() == built_in().names()


def test_a_bad_file_is_one_error_and_does_not_stop_the_others(tmp_path: Path) -> None:
    presets = presets_in(tmp_path, acme_sso=ACME_SSO, bad="title: Bad\n", worse="[")
    found = presets.problems()
    assert found.keys() == {"bad", "worse"}
    assert next(str(one).replace(f"{tmp_path}/", "") for one in found["bad"].problems) == (
        'presets/bad.yaml:1:1: this file lacks the key "logo": what stands for the provider on a button'
    )
    assert issuer(tmp_path, presets)
    assert {one.name for one in presets.all()} == {*built_in().names(), "acme-sso"}
    (problem,) = problems(tmp_path, presets, TENANT.replace("acme-sso", "bad"))
    assert problem == (
        "acme.yaml:2:9: preset names a preset whose file cannot be used; its first problem: presets/bad.yaml"
        ':1:1: this file lacks the key "logo": what stands for the provider on a button'
    )


def test_a_folder_that_cannot_be_read_prevents_the_start_with_a_remedy(tmp_path: Path) -> None:
    presets = available_presets(tmp_path / "none")
    with pytest.raises(ConfigurationError) as raised:
        Registry(tmp_path, environ=ENVIRON, presets=presets).load()
    assert str(raised.value) == (
        f"{tmp_path}/none: the folder of presets cannot be read: No such file or directory; create it, or "
        "remove `presets` or PORTAL_PRESETS from the settings"
    )
    assert presets.find("okta") is not None


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("fields: {region: eu-1, realm: a}",
         "fields has a name that preset acme-sso does not ask for; it has only: region"),
        ("fields: {region: a/b}", "fields has a region that is not one; expected a value such as eu-1"),
        ("",
         'this file lacks "issuer": write issuer: https://eu-1.sso.acme.example, or fields: {region: eu-1}'),
        ("issuer: https://sso.acme.example\nfields: {region: eu-1}",
         'fields conflicts with "issuer", which they determine; keep one of the two'),
        ("domain: sso.acme.example",
         "domain does not determine the issuer of Acme SSO; write issuer: https://eu-1.sso.acme.example"),
    ],
)  # fmt: skip
def test_the_values_of_fields_are_checked(tmp_path: Path, keys: str, problem: str) -> None:
    presets = presets_in(tmp_path, acme_sso=ACME_SSO)
    (found,) = problems(tmp_path, presets, TENANT.replace("fields: {region: eu-1}", keys))
    assert found.partition(": ")[2] == problem


def test_a_required_field_that_the_issuer_does_not_need_must_be_given(tmp_path: Path) -> None:
    text = (
        "name: A\naccess: anyone\npreset: apple\nfields: {team_id: A1B2C3D4E5}\nclient: {id: x, secret: y}\n"
    )
    (found,) = problems(tmp_path, built_in(), text)
    assert found == (
        "acme.yaml:1:1: this file lacks the Key ID of Apple: write fields: {key_id: F6G7H8I9J0}, "
        "with your own values"
    )


RECOGNIZED = ACME_SSO.replace(
    "issuer: {", "issuer: {recognized_by: ['https://[a-z0-9-]+[.]sso[.]acme[.]example'], "
)


@pytest.mark.parametrize("read_before", [False, True])
def test_an_issuer_of_a_preset_of_the_folder_needs_that_preset(tmp_path: Path, read_before: bool) -> None:
    presets = presets_in(tmp_path, acme_sso=RECOGNIZED, bad="title: Bad\n")
    if read_before:
        assert presets.problems().keys() == {"bad"}
    other = TENANT.replace("acme-sso", "okta").replace(
        "fields: {region: eu-1}", "issuer: https://eu-1.sso.acme.example"
    )
    assert problems(tmp_path, presets, other) == [
        "acme.yaml:3:9: issuer is an issuer of Acme SSO; write preset: acme-sso"
    ]
    assert issuer(tmp_path, built_in(), other) == "https://eu-1.sso.acme.example"
    (tmp_path / "presets" / "acme-sso.yaml").unlink()
    assert presets.problems().keys() == {"bad"}
    assert issuer(tmp_path, presets, other) == "https://eu-1.sso.acme.example"


def test_a_public_provider_of_the_folder_needs_access(tmp_path: Path) -> None:
    presets = presets_in(tmp_path, acme_sso=f"{ACME_SSO}public_accounts: true\n")
    (found,) = problems(tmp_path, presets)
    assert found.startswith("acme.yaml:2:9: access is missing, but anyone can create an account at Acme SSO.")
    assert issuer(tmp_path, presets, f"{TENANT}access: anyone\n")


# --- changes while the portal runs


def test_a_changed_preset_changes_the_tenants_that_name_it(tmp_path: Path) -> None:
    presets = presets_in(tmp_path, acme_sso=ACME_SSO)
    tenants = tmp_path / "tenants"
    for path in (write(tenants, TENANT), tmp_path / "presets" / "acme-sso.yaml"):
        settle(path)
    okta = "name: B\npreset: okta\ndomain: b.okta.com\nclient: {id: portal, secret: s3cret}\n"
    settle(write(tenants, okta, "other.yaml"))
    live = Registry(tenants, environ=ENVIRON, presets=presets)
    live.load()
    before = {tenant.slug: tenant for tenant in live.all()}
    preset = write(tmp_path / "presets", ACME_SSO.replace(".sso.acme.", ".login.acme."), "acme-sso.yaml")
    settle(preset, 5)
    live.load()
    after = {tenant.slug: tenant for tenant in live.all()}
    assert after["other"] is before["other"]
    assert after["acme"].default_provider.issuer == "https://eu-1.login.acme.example"
    assert after["acme"].revision != before["acme"].revision


def test_a_preset_that_becomes_invalid_keeps_its_tenants_and_is_logged_once(tmp_path: Path) -> None:
    presets = presets_in(tmp_path, acme_sso=ACME_SSO)
    tenants = tmp_path / "tenants"
    write(tenants, TENANT)
    live = Registry(tenants, environ=ENVIRON, presets=presets)
    live.load()
    good = live.get("acme")
    with capture_logs() as logs:
        write(tmp_path / "presets", "title: Bad\n", "acme-sso.yaml")
        live.load()
        live.load()
    assert [one["preset"] for one in logs if one["event"] == "preset_rejected"] == ["acme-sso"]
    assert live.get("acme") is good
    assert live.problems.keys() == {"acme.yaml"}
    with capture_logs() as logs:
        write(tmp_path / "presets", ACME_SSO, "acme-sso.yaml")
        live.load()
    assert [one["preset"] for one in logs if one["event"] == "preset_accepted"] == ["acme-sso"]
    assert live.problems == {}


@pytest.mark.gen_test
async def test_a_new_preset_is_live_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "_CHECK_INTERVAL", 60.0)  # only the notification is fast enough
    presets = presets_in(tmp_path)
    live = Registry(tmp_path / "tenants", environ=ENVIRON, presets=presets)
    write(tmp_path / "tenants", TENANT)
    live.load()
    assert live.get("acme") is None
    stop = asyncio.Event()
    watching = asyncio.create_task(live.watch(stop))
    try:
        await asyncio.sleep(0.5)  # until the file system is watched
        write(tmp_path / "presets", ACME_SSO, "acme-sso.yaml")
        assert await until(lambda: live.get("acme") is not None) < 5
    finally:
        stop.set()
        await asyncio.wait_for(watching, 5)


def test_check_uses_the_presets_of_the_folder(tmp_path: Path) -> None:
    presets = presets_in(tmp_path, acme_sso=ACME_SSO)
    path = write(tmp_path, TENANT)
    (checked,) = check_files([path], allow_private_networks=False, environ=ENVIRON, presets=presets)
    assert checked.problems == ()


# --- installed packages


HOOKS = """\
from portal.tenancy.presets import Hooks


class AcmeHooks(Hooks):
    def check_issuer(self, issuer):
        return "is not of Acme" if "acme" not in issuer else None
"""


@pytest.fixture
def package(tmp_path: Path) -> Iterator[str]:
    """A package with a preset and hooks."""
    folder = tmp_path / "site" / "acme_presets_for_tests"
    write(folder, HOOKS, "__init__.py")
    write(folder, ACME_SSO, "acme-sso.yaml")
    sys.path.insert(0, str(folder.parent))
    yield folder.name
    sys.path.remove(str(folder.parent))
    sys.modules.pop(folder.name, None)


def installed(value: str, name: str = "acme-sso") -> Presets:
    return Presets(installed={name: EntryPoint(name, value, "portal.presets")}, check=check_provider)


def test_a_package_can_bring_a_preset_and_hooks(tmp_path: Path, package: str) -> None:
    plain, hooked = installed(package), installed(f"{package}:AcmeHooks")
    assert plain.origin("acme-sso") == "an installed package"
    assert plain.problems() == {}
    assert issuer(tmp_path, plain) == issuer(tmp_path, hooked) == "https://eu-1.sso.acme.example"
    other = TENANT.replace("fields: {region: eu-1}", "issuer: https://login.example")
    assert issuer(tmp_path, plain, other) == "https://login.example"
    assert problems(tmp_path, hooked, other) == ["acme.yaml:3:9: issuer is not of Acme"]


@pytest.mark.parametrize(
    ("value", "name", "problem"),
    [
        ("no_such_package", "acme-sso",
         "cannot be loaded: ModuleNotFoundError; reinstall or remove the package"),
        ("{}:Missing", "acme-sso", "cannot be loaded: AttributeError; reinstall or remove the package"),
        ("{}", "other", "cannot be loaded: FileNotFoundError; reinstall or remove the package"),
        ("{}:__name__", "acme-sso", "is not a class derived from portal.tenancy.presets.Hooks"),
    ],
)  # fmt: skip
def test_a_broken_package_is_one_error(package: str, value: str, name: str, problem: str) -> None:
    value = value.format(package)
    (found,) = installed(value, name).problems()[name].problems
    assert str(found) == f"the entry point {name} of portal.presets ({value}): {problem}"


def test_the_default_hooks_change_nothing() -> None:
    hooks = Hooks()
    assert hooks.shared_issuer("common") is hooks.check_issuer("x") is hooks.issuer_template("x") is None
    assert hooks.error_code("access_denied", "") is None
