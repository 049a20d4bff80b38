"""Every key has an effect: it changes the loader's result, and the portal reads the changed field.

The keys, and most of their values, come from the schemas of the tenant file and of the settings. `CASES` has
the values that a schema does not determine; the test of a new key that needs one fails without it.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import BaseModel

import portal
from portal.config.settings import Settings, SettingsFile, load_settings
from portal.errors import ConfigurationError
from portal.tenancy.loading import read_tenant
from portal.tenancy.model import Tenant
from portal.tenancy.presets import Preset, built_in
from portal.tenancy.schema.provider import ProviderFile
from portal.tenancy.schema.tenant import ManyProvidersTenantFile, OneProviderTenantFile
from tests.unit.config.field_reads import Field, fields_read
from tests.unit.config.schema_keys import ANY_NAME, ENTRY, Key, keys_of
from tests.unit.outbound.certificates import issue

ROOT = Path(portal.__file__).parent
MAKERS = (
    *("config", "demo", "tenancy/schema", "tenancy/checks"),
    *("tenancy/loading.py", "tenancy/api_loading.py"),
)
"""Modules whose reads do not count: they make or check a field, or are not part of `portal serve`."""

DIRECTORY = "72f988bf-86f1-41af-91ab-2d7cd011db47"
RULE = {"claim": "email", "present": True}
EQUALS = {"claim": "email", "equals": "ann@acme.example"}
PROVIDER = {"issuer": "https://login.acme.example", "client": {"id": "portal", "secret": "s3cret"}}
BASES: dict[type[BaseModel], dict[str, Any]] = {
    OneProviderTenantFile: {"name": "Acme", **PROVIDER},
    ManyProvidersTenantFile: {"name": "Acme", "providers": {"staff": PROVIDER}},
    SettingsFile: {},
}
"""The smallest file of each kind."""
SMALLEST: dict[str, dict[str, Any]] = {
    "api": {"base_url": "https://api.acme.example"},
    "apis.*": {"base_url": "https://api.acme.example"},
    "access": {"require": [RULE]},
    "access.require[]": RULE,
    "access.paths[]": {"path": "/orders/", "require": [RULE]},
    "access.paths[].require[]": RULE,
    "admins[]": RULE,
    "links[]": {"title": "Wiki", "url": "/wiki"},
    "operators[]": {"tenant": "acme", **RULE},
    "id_token_encryption": {"alg": "RSA-OAEP"},
    "front_end": {"directory": "app"},
    "traces": {"endpoint": "http://localhost:4318/v1/traces"},
    "events.webhook": {"url": "https://siem.example/events", "secret": f"whsec_{'a' * 32}"},
    "front_ends.*": {"path": "/desk", "directory": "dist"},
}
"""The smallest mapping at a key, where that is not an empty one."""


@dataclass(frozen=True, slots=True)
class Case:
    """The values that a key needs and its schema does not determine.

    Parameters: beside, other keys of the file, None for one that must not be there; without, keys of the same
    mapping that this one takes the place of; values, in place of those that the schema lets one guess.
    """

    beside: Mapping[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    values: tuple[object, ...] = ()


_CERTIFIED = {"client": {"certificate": "file:certificate.pem", "private_key": "file:key.pem"}}
_SIGNING = Case(
    beside={
        "client": {
            "secret": None,
            "signed_secret": {"issuer": "A1", "key_id": "B2", "private_key": "file:key.pem"},
        }
    }
)
_SECRET = Case(beside={"client": {"secret": {"value": "s3cret", "expires_at": "2030-01-01"}}})
_WITH_AUDIENCE = {"base_url": "https://api.acme.example", "audience": "billing"}
_OF_A_HOST = Case(beside={"hosts": ["portal.acme.example"]})
_INSTEAD_OF_PRESENT = Case(without=("present",))
CASES: dict[str, Case] = {
    "preset": Case(values=("google", "zitadel")),
    "fields": Case(
        beside={"preset": "entra", "issuer": None, "fields": {"directory_id": DIRECTORY}},
        values=({"directory_id": "11111111-2222-3333-4444-555555555555"},),
    ),
    "domain": Case(
        beside={"preset": "cognito"},  # where issuer and domain are written together
        values=("login.acme.example",),
    ),
    "discovery": Case(
        beside={
            "endpoints": {
                name: f"https://login.acme.example/{name}" for name in ("authorization", "token", "jwks")
            }
        }
    ),
    "client.auth": Case(values=("client_secret_post",)),
    "client.assertion_audience": Case(beside={"client": {"auth": "client_secret_jwt", "secret": "x" * 32}}),
    "client.certificate": Case(beside=_CERTIFIED, values=("file:renewed-certificate.pem",)),
    "client.private_key": Case(beside=_CERTIFIED, values=("file:same-key.pem",)),
    **{f"client.secret.{key}": _SECRET for key in ("value", "expires_at")},
    **{f"client.signed_secret.{key}": _SIGNING for key in ("issuer", "key_id", "expires_at")},
    "client.signed_secret.private_key": replace(_SIGNING, values=("file:same-key.pem",)),
    "tls.ca": Case(values=("file:authority.pem",)),
    **{f"{api}.tls.ca": Case(values=("file:authority.pem",)) for api in ("api", "apis.*")},
    **{f"{api}.example_paths": Case(values=(["/orders"],)) for api in ("api", "apis.*")},
    **{f"{api}.mtls": Case(beside=_CERTIFIED) for api in ("api", "apis.*")},
    "api.token": Case(beside={"api": _WITH_AUDIENCE}),
    "apis.*.token": Case(beside={"apis": {"second": _WITH_AUDIENCE}}),
    "apis.*.step_up_scopes": Case(beside={"apis": {"second": _WITH_AUDIENCE}}),
    "access.paths[].api": Case(
        beside={"apis": {"second": {"base_url": "https://api.acme.example"}}}, values=("second",)
    ),
    "userinfo_algs": Case(beside={"userinfo": True}),
    "tenant_ids": Case(
        beside={
            "preset": "entra",
            "domain": "common",
            "issuer": None,
            "tenant_ids": "any",
            "access": {"require": [RULE]},
        }
    ),
    "hosted_domain": Case(beside={"preset": "google", "issuer": None, "access": {"require": [RULE]}}),
    **{
        f"{where}[].{comparison}": _INSTEAD_OF_PRESENT
        for where in ("access.require", "access.paths[].require", "admins", "operators")
        for comparison in ("equals", "one_of", "contains", "contains_any", "contains_all", "ends_with")
    },
    "access.require[].present": Case(beside={"access": {"require": [EQUALS]}}, without=("equals",)),
    "access.paths[].require[].present": Case(
        beside={"access": {"paths": [{"path": "/orders/", "require": [EQUALS]}]}}, without=("equals",)
    ),
    "admins[].present": Case(beside={"admins": [EQUALS]}, without=("equals",)),
    "admins[].provider": Case(values=("default", "staff")),
    "operators[].present": Case(beside={"operators": [{"tenant": "acme", **EQUALS}]}, without=("equals",)),
    "public_url": Case(values=("https://portal.acme.example",)),
    "listen": Case(values=("127.0.0.1:8081",)),
    "database": Case(values=("sqlite:///other.db",)),
    "metrics_listen": Case(values=("127.0.0.1:9090",)),
    "traces.endpoint": Case(values=("http://collector.example:4318/v1/traces",)),
    "traces.sample": Case(values=(0.5,)),
    "traces.continue_proxy_traces": Case(beside={"trusted_proxies": ["10.0.0.0/24"]}),
    "trusted_proxies": Case(values=(["10.0.0.0/24"],)),
    "events.retention": Case(values=("30d",)),
    "events.webhook.url": Case(values=("https://siem.example/other",)),
    "events.webhook.secret": Case(values=(f"whsec_{'b' * 32}",)),
    "forward_auth.secret": Case(values=("s" * 32,)),
    "domains.nameservers": Case(values=(["9.9.9.9"],)),
    **{f"front_end.{key}": _OF_A_HOST for key in ("directory", "source_maps")},
    "front_end.csp": replace(_OF_A_HOST, values=({"img-src": ["data:"]},)),
    "front_ends.*.path": Case(values=("/other",)),
    "front_ends.*.url": Case(without=("directory",), values=("http://localhost:5173",)),
    "front_ends.*.home": Case(values=("/desk/{tenant}/",)),
    "front_ends.*.csp": Case(values=({"img-src": ["data:"]},)),
    "product.logo": Case(values=("logo.svg",)),
    "product.color": Case(values=("#1f6feb",)),
    "product.support_url": Case(values=("https://help.acme.example/",)),
    "product.support_email": Case(values=("help@acme.example",)),
    "product.legal_url": Case(values=("https://acme.example/legal",)),
}


def models(*loaded: type) -> list[type]:
    """The dataclasses that the loaders return, and those in their fields."""
    found: list[type] = []
    waiting: list[Any] = list(loaded)
    while waiting:
        one = waiting.pop()
        waiting.extend(get_args(one))
        if isinstance(one, type) and dataclasses.is_dataclass(one) and one not in found:
            found.append(one)
            waiting.extend(get_type_hints(one).values())
    return found


MODELS = models(Tenant, Settings)
KEYS = [
    pytest.param(model, key, id=f"{model.__name__}-{key.name}") for model in BASES for key in keys_of(model)
]
Step = Field | str | int
"""A field of a class, or a position in a mapping or list."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files to which the documents refer."""
    made = tmp_path_factory.mktemp("files")
    first = issue("portal")
    (made / "authority.pem").write_text(issue("authority", authority=True).chain)
    (made / "certificate.pem").write_text(first.chain)
    (made / "key.pem").write_text(first.private_key())
    (made / "same-key.pem").write_text(first.private_key() + "\n")
    (made / "logo.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"/>')
    (made / "renewed-certificate.pem").write_text(issue("portal", key=first.key).chain)
    return made


@pytest.mark.parametrize(("model", "key"), KEYS)
def test_a_key_changes_what_the_portal_reads(folder: Path, model: type[BaseModel], key: Key) -> None:
    missing = missing_effect(folder, model, key)
    if missing:
        pytest.fail(missing, pytrace=False)


def test_every_case_is_of_a_key() -> None:
    names = {_local(key) for model in BASES for key in keys_of(model)}
    assert set(CASES) <= names


@pytest.mark.parametrize(
    "name", sorted(f"{model.__name__}.{one.name}" for model in MODELS for one in dataclasses.fields(model))
)
def test_a_field_of_a_model_is_read(name: str) -> None:
    if tuple(name.split(".")) not in read_fields():
        pytest.fail(f"{name} reaches nothing: nothing in portal/ reads it", pytrace=False)


def test_the_name_before_the_dot_says_whose_field_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "async def call(tenant: Tenant, seconds: float):\n"
        "    api = tenant.api\n"
        "    async with asyncio.timeout(seconds):\n"
        "        tenant.timeout = api.base_url\n"
    )
    (tmp_path / "model.py").write_text("class Tenant:\n    api: Api | None\n")
    (tmp_path / "loading.py").write_text("def show(api: Api):\n    return api.timeout\n")
    found = fields_read(tmp_path, ["Api", "Tenant"])
    assert found[tmp_path / "a.py"] == {("Tenant", "api"), ("Api", "base_url")}
    assert found[tmp_path / "loading.py"] == {("Api", "timeout")}


# --- presets


_FITTING: dict[str, dict[str, Any]] = {
    "auth0": {"issuer": "https://login.acme.example/"},
    "entra": {"issuer": "https://login.acme.example/v2.0"},
    "adfs": {"issuer": "https://login.acme.example/adfs"},
    "authentik": {"issuer": "https://login.acme.example/"},
    "onelogin": {"issuer": "https://login.acme.example/oidc/2"},
    **{name: {"access": {"require": [RULE]}} for name in ("google", "linkedin")},
}
"""What a preset requires: an issuer of some form, or access."""


_OTHER_CLIENTS = frozenset({"apple", "login_gov"})
"""Presets of clients without a secret, which test_presets_of_providers has."""
_AS_GENERIC = frozenset({"authentik", "fusionauth", "salesforce"})
"""Presets that only explain: the defaults of `generic` are right."""


@pytest.mark.parametrize("preset", sorted({*built_in().names()[:-1]} - _OTHER_CLIENTS - _AS_GENERIC))
def test_a_preset_changes_what_the_portal_reads(folder: Path, preset: str) -> None:
    base = {**BASES[OneProviderTenantFile], **_FITTING.get(preset, {})}
    changed = changes(load(folder, base), load(folder, {**base, "preset": preset}))
    assert any(set(fields) <= read_fields() for fields in changed), f"preset {preset} changes nothing"


PARTS_OF_PRESETS = models(Preset)
_SAME_FOR_ALL = frozenset({"ClaimRules.email"})
"""A preset of an operator may differ."""


@pytest.mark.parametrize(
    "name", [f"{part.__name__}.{one.name}" for part in PARTS_OF_PRESETS for one in dataclasses.fields(part)]
)
def test_a_field_of_presets_is_read_and_differs_among_them(name: str) -> None:
    part, _, field_name = name.partition(".")
    found = any((part, field_name) in fields for fields in reads().values())  # mostly the loader's
    assert found, f"nothing reads {name}"
    values = {repr(getattr(one, field_name)) for one in parts_of_presets() if type(one).__name__ == part}
    assert len(values) > 1 or name in _SAME_FOR_ALL, f"{name} is the same for every preset"


def parts_of_presets() -> Iterator[object]:
    """The built-in presets, and the dataclasses in their fields."""
    waiting: list[Any] = list(built_in().all())
    while waiting:
        one = waiting.pop()
        if dataclasses.is_dataclass(one):
            yield one
            waiting.extend(getattr(one, inner.name) for inner in dataclasses.fields(one))
        elif isinstance(one, tuple):
            waiting.extend(one)
        elif isinstance(one, Mapping):
            waiting.extend(one.values())


# --- what a key changes


def missing_effect(folder: Path, model: type[BaseModel], key: Key) -> str | None:
    """Why a second value of the key has no effect on fields that the portal reads; None when it has one."""
    case = CASES.get(_local(key), Case())
    base = _document(model, key, case)
    before = load(folder, base)
    unread: set[str] = set()
    refusal, accepted = "", False
    for value in case.values or key.values:
        document = copy.deepcopy(base)
        holder = _holder(document, key)
        for other in case.without:
            holder.pop(other, None)
        if holder.get(key.path[-1]) == value:
            continue
        holder[key.path[-1]] = value
        try:
            after = load(folder, document)
        except ConfigurationError as error:
            refusal = f"; {value!r} is refused: {error.problems[0].message}"
            continue
        accepted = True
        for fields in changes(before, after):
            missing = [one for one in fields if one not in read_fields()]
            if not missing:
                return None
            unread.add(".".join(missing[0]))
    if unread:
        return f"{key.name} reaches nothing: nothing in portal/ reads {', '.join(sorted(unread))}"
    if accepted:
        return f"{key.name} reaches nothing: the loader makes the same of every value"
    return f"{key.name} has no second value here: add one to CASES{refusal}"


def load(folder: Path, document: Mapping[str, Any]) -> object:
    path = folder / "acme.yaml"
    path.write_text(json.dumps(document), encoding="utf-8")
    return read_tenant(path, environ={}).tenant if "name" in document else load_settings(path, {})


@cache
def reads() -> Mapping[Path, set[Field]]:
    return fields_read(ROOT, [model.__name__ for model in (*MODELS, *PARTS_OF_PRESETS)])


@cache
def read_fields() -> frozenset[Field]:
    """The fields of the loaders' results that the portal reads."""
    makers = [ROOT / name for name in MAKERS]
    return frozenset(
        one for path, fields in reads().items() if not any(map(path.is_relative_to, makers)) for one in fields
    )


def changes(before: object, after: object) -> set[tuple[Field, ...]]:
    """The fields that differ, each with the fields that lead to it."""
    one, other = dict(_leaves(before)), dict(_leaves(after))
    differing = {place for place in one.keys() | other.keys() if one.get(place) != other.get(place)}
    return {tuple(step for step in place if isinstance(step, tuple)) for place in differing}


def _leaves(value: object, place: tuple[Step, ...] = ()) -> Iterator[tuple[tuple[Step, ...], object]]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for one in dataclasses.fields(value):
            if (type(value), one.name) != (Tenant, "revision"):  # it changes with every change of the file
                yield from _leaves(getattr(value, one.name), (*place, (type(value).__name__, one.name)))
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, (*place, str(name)))
    elif isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*place, index))
    else:
        yield place, value


# --- documents


def _local(key: Key) -> str:
    """The name of a key without `providers.*`: CASES are the same for a single provider."""
    return key.name.removeprefix(f"providers.{ANY_NAME}.")


def _document(model: type[BaseModel], key: Key, case: Case) -> dict[str, Any]:
    """The smallest valid file that can contain the key, with the other keys that it needs."""
    document: dict[str, Any] = copy.deepcopy(BASES[model])
    of_provider = key.path[0] == "providers"
    for name, value in case.beside.items():
        holder = document
        known = ProviderFile.model_fields if of_provider else model.model_fields
        if model is ManyProvidersTenantFile and (name in known) is of_provider:
            holder = document["providers"]["staff"]
        if value is None:
            del holder[name]
        elif isinstance(value, dict) and name in holder:
            both = holder[name] | copy.deepcopy(value)
            holder[name] = {key: one for key, one in both.items() if one is not None}
        else:
            holder[name] = copy.deepcopy(value)
    _holder(document, key)
    return document


def _holder(document: dict[str, Any], key: Key) -> dict[str, Any]:
    """The mapping to which a key belongs; it is created when missing."""
    found: Any = document
    above = ""
    for step, after in zip(key.path, key.path[1:], strict=False):
        above = f"{above}{step}" if step == ENTRY else f"{above}.{step}".removeprefix(".")
        smallest = copy.deepcopy(SMALLEST.get(above.removeprefix(f"providers.{ANY_NAME}."), {}))
        if step == ENTRY:
            found.extend([] if found else [smallest])
            found = found[0]
        elif step == ANY_NAME:
            found = found.setdefault(next(iter(found), "second"), smallest)
        else:
            found = found.setdefault(step, [] if after == ENTRY else smallest)
    return found  # type: ignore[no-any-return]
