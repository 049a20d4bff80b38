"""THREATS S9: messages never quote a secret that is in the wrong place of a tenant file."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from portal.cli import main as cli
from portal.config.validation import model_at
from portal.config.yaml_document import KeyPath
from portal.errors import ConfigurationError
from portal.tenancy.loading import read_tenant
from portal.tenancy.registry import Registry
from portal.tenancy.schema.tenant import ManyProvidersTenantFile, OneProviderTenantFile

MARK = "hunter2secret"
NUMBER = 31415926535
RULE = {
    "claim": "email",
    "equals": "ada@acme.example",
    "one_of": ["ada@acme.example"],
    "contains": "staff",
    "contains_any": ["staff"],
    "contains_all": ["staff", 1],
    "ends_with": "@acme.example",
    "present": True,
    "verified_by": ["email_verified"],
}
PROVIDER = {
    "label": "Staff",
    "preset": "generic",
    "fields": {"region": "eu-west-1"},
    "domain": "login.acme.example",
    "issuer": "https://login.acme.example",
    "client": {
        "id": "portal",
        "secret": {"value": "${ACME_SECRET}", "expires_at": "2030-01-01"},
        "signed_secret": {
            "issuer": "A1B2C3D4E5",
            "key_id": "F6G7H8I9J0",
            "private_key": "file:acme.key",
            "expires_at": "2030-01-01T12:00:00Z",
        },
        "auth": "client_secret_basic",
        "signing_key": "shared",
        "signing_alg": "RS256",
        "assertion_audience": "issuer",
        "certificate": "file:acme.pem",
        "private_key": "file:acme.key",
    },
    "audience": "https://api.acme.example",
    "resources": ["https://api.acme.example"],
    "scopes": ["openid"],
    "authorize_params": {"organization": "org"},
    "discovery": True,
    "endpoints": {
        name: f"https://login.acme.example/{name}"
        for name in (
            "authorization",
            "token",
            "jwks",
            "userinfo",
            "end_session",
            "revocation",
            "pushed_authorization_request",
        )
    },
    "id_token_algs": ["RS256"],
    "max_age": "1h",
    "acr_values": ["gold"],
    "requested_claims": {
        "id_token": {"acr": {"essential": True, "value": "gold", "values": ["gold"]}},
        "userinfo": {"name": {}},
    },
    "response_mode": "query",
    "response_algs": ["RS256"],
    "par": False,
    "request_object": "none",
    "dpop": False,
    "userinfo": False,
    "userinfo_algs": ["RS256"],
    "tenant_ids": ["72f988bf-86f1-41af-91ab-2d7cd011db47"],
    "id_token_encryption": {"alg": "RSA-OAEP", "enc": "A128GCM", "logout_tokens": True},
    "tls": {"ca": "file:ca.pem"},
    "logout": {"url": "https://login.acme.example/out?next={return_to}", "id_token_hint": True},
    "hosted_domain": "acme.example",
    "step_up_scopes": ["delete:orders"],
    "global_token_revocation": True,
    "access": {
        "require": [RULE],
        "paths": [{"api": "billing", "path": "/admin/", "require": [RULE]}],
        "contact": "help@acme.example",
    },
}
API = {
    "base_url": "https://api.acme.example",
    "audience": "https://api.acme.example",
    "resource": "https://api.acme.example",
    "scopes": ["read:orders"],
    "access": "user",
    "token": "auto",
    "max_body": "10MB",
    "request_headers": ["Referer"],
    "response_headers": ["Server"],
    "example_paths": ["/orders"],
    "timeout": "10s",
    "idle_timeout": "10s",
    "mtls": True,
    "tls": {"ca": "file:api-ca.pem"},
}
ORGANISATION = {
    "name": "Acme",
    "api": API,
    "apis": {"billing": {**API, "step_up_scopes": ["delete:invoices"]}},
    "listed": True,
    "shared_email_domains": ["group.example"],
    "home_url": "https://desk.acme.example/",
    "links": [{"title": "Wiki", "url": "/wiki", "description": "How we work"}],
    "hosts": ["portal.acme.example"],
    "email_domains": ["acme.example"],
    "front_end": {"directory": "app", "csp": {"img-src": ["data:"]}, "source_maps": True},
    "branding": {"color": "#1f6feb", "logo_url": "https://www.acme.example/logo.svg"},
    "claims": {"name": "name", "email": "email", "roles": "roles", "show": ["name"], "page": ["name"]},
    "session": {"idle": "10m", "absolute": "12h"},
    "forward_auth": {"claims": ["name"], "token": True},
    "admins": [{**RULE, "provider": "default"}],
    "access": PROVIDER["access"],
}
DOCUMENTS: list[tuple[type[BaseModel], dict[str, object]]] = [
    (OneProviderTenantFile, {**ORGANISATION, **PROVIDER}),
    (ManyProvidersTenantFile, {**ORGANISATION, "providers": {"staff": PROVIDER}}),
]
REPLACEMENTS: list[object] = [
    MARK,
    f"{MARK} {MARK}",
    f"x{MARK}@example",
    f"${{{MARK}}}",
    f"file:{MARK}",
    f"https://user:{MARK}@acme.example/",
    f"https://{MARK}.localhost/",
    f"https://{MARK}_/",
    f"http://acme.example/{MARK}?#",
    f"https://acme.example/../{MARK}",
    f"{MARK}é.example",
    NUMBER,
    NUMBER + 0.5,
    [MARK],
    [NUMBER],
    [[MARK]],
    {MARK: None},
    {MARK: MARK},
    {"secret": {MARK: MARK}},
]
"""Values that replace a valid value."""
REPLACEMENT_YAML = [
    f"*{MARK}",
    f"&{MARK} x",
    f"!{MARK} x",
    f"!!{MARK} x",
    f"'{MARK}",
    f"@{MARK}",
    f"{{{MARK}: 1, {MARK}: 2}}",
]
"""The same as invalid or unaccepted YAML."""


def paths_of(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Every path of a document, the outer ones first."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths_of(inner, (*path, key))


def changed(document: object, path: KeyPath, value: object) -> object:
    if not path:
        return value
    made = copy.copy(document)
    made[path[0]] = changed(made[path[0]], path[1:], value)  # type: ignore[index]
    return made


def around(document: dict[str, object], path: KeyPath) -> dict[str, object]:
    """A valid file except for the key at a path, so that every rule about that key is reached."""
    provider = {"issuer": "https://login.acme.example", "client": {"id": "portal", "auth": "none"}}
    right = {"providers": {"staff": provider}} if "providers" in document else provider
    return {"name": "Acme", **right, str(path[0]): document[str(path[0])]}


def value_at(document: object, path: KeyPath) -> object:
    for step in path:
        document = document[step]  # type: ignore[index]
    return document


def texts_with_secret() -> Iterator[str]:
    """The documents with the secret in one place each, written as JSON, which is also YAML."""
    for model, whole in DOCUMENTS:
        for path in paths_of(whole):
            if path in (("name",), ()) or (model is ManyProvidersTenantFile and len(path) > 3):
                continue  # users see the name; provider keys are the same in both kinds of file
            document = around(whole, path)
            for value in REPLACEMENTS:
                yield json.dumps(changed(document, path, value))
            here = json.dumps(changed(document, path, "PLACE"))
            yield from (here.replace('"PLACE"', text) for text in REPLACEMENT_YAML)
            found = value_at(document, path)
            if isinstance(found, dict):
                yield json.dumps(changed(document, path, {MARK: MARK, **found}))
                for key in found:
                    renamed = {MARK if one == key else one: value for one, value in found.items()}
                    yield json.dumps(changed(document, path, renamed))
    yield from (MARK, f"- {MARK}\n", f"name: Acme\n{MARK}\n", f"name: Acme\n\t{MARK}: 1\n", f"{MARK}: [\n")


def test_the_test_documents_have_every_key_of_the_schema() -> None:
    for model, document in DOCUMENTS:
        for path in paths_of(document):
            inner: type[BaseModel] | None = model_at(model, path)
            found = value_at(document, path)
            if inner is not None and found != {}:
                assert isinstance(found, dict)
                assert found.keys() == inner.model_fields.keys(), path


@pytest.mark.parametrize(
    ("key", "quoted"),
    [
        ("issuerr", True),
        ("Issuer", True),
        ("isuer", True),
        ("isseurs", True),
        (f"issuer{MARK}", False),
        ("issuer-s3c", False),
        ("s3c", False),
        ("s", False),
        ("hunter2", False),
        ("issuer\u200b", False),
    ],
)
def test_S9_an_unknown_key_is_quoted_only_when_it_is_a_typo_of_a_known_key(
    tmp_path: Path, key: str, quoted: bool
) -> None:
    file = tmp_path / "acme.yaml"
    provider = {"issuer": "https://login.acme.example", "client": {"id": "portal", "auth": "none"}}
    file.write_text(json.dumps({"name": "Acme", **provider, key: "x"}))
    with pytest.raises(ConfigurationError) as refused:
        read_tenant(file)
    (message,) = [problem.message for problem in refused.value.problems]
    assert message.startswith("unknown key")
    assert (f'"{key}"' in message) is quoted


def test_S9_no_message_quotes_a_secret_in_the_wrong_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log_lines: io.StringIO
) -> None:
    texts = list(dict.fromkeys(texts_with_secret()))
    assert len(texts) > 2_500
    folder, some = tmp_path / "tenants", tmp_path / "some"
    for number, text in enumerate(texts):
        for into in (folder, some) if number % 20 == 0 else (folder,):
            into.mkdir(exist_ok=True)
            (into / f"t{number}.yaml").write_text(text)
    cli.main(["tenant", "check", str(folder)])
    output = capsys.readouterr()
    Registry(some).load()
    assert output.out.count("✗") > 1_500
    assert output.out.count("✓") > 100
    for line in (*output.out.splitlines(), *output.err.splitlines(), *log_lines.getvalue().splitlines()):
        assert MARK not in line
        assert str(NUMBER) not in line
