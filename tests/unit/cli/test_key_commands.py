"""`portal key`: its report on the portal's own keys and on the metadata to register at providers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from portal.keys.client_key_ring import load_client_keys
from portal.keys.key_ring import KeyRing
from portal.oidc.jose.key_material import new_private_jwk
from portal.oidc.keys import parse_key_set
from tests.unit.cli.test_main import Outcome, Run, run, write
from tests.unit.outbound.certificates import issue

__all__ = ["run"]

KEYS = Path("var/keys.json")
PRIVATE_PARTS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
PORTAL = "public_url: https://portal.example\n"
ACME = """\
name: Acme
issuer: https://login.acme.example
client: {id: tenant-portal, auth: private_key_jwt, signing_alg: ES256}
id_token_encryption: {alg: RSA-OAEP-256, enc: A256GCM}
"""


@pytest.fixture
def acme(run: Run) -> Run:
    write("portal.yaml", PORTAL)
    write("tenants/acme.yaml", ACME)

    def run_here(*arguments: str, **options: Any) -> Outcome:
        return run(*arguments, "--config", "portal.yaml", **options)

    return run_here


def no_private_part_in(text: str) -> bool:
    entries = json.loads(KEYS.read_text())["keys"]
    private = [str(entry[part]) for entry in entries for part in PRIVATE_PARTS & entry.keys()]
    return bool(private) and not any(part in text for part in private)


def test_show_prints_the_jwks_uri_and_the_keys_and_creates_missing_ones(acme: Run) -> None:
    KeyRing.create(KEYS)
    shown = acme("key", "show")
    assert (shown.code, shown.err) == (0, "")
    assert "https://portal.example/.well-known/jwks.json" in shown.out
    assert {key.kid for key in load_client_keys(KEYS)} <= set(shown.out.split())
    for alg in ("RS256", "PS256", "ES256", "EdDSA"):
        assert f"{alg}  published, signs\n" in shown.out
    assert no_private_part_in(shown.out)


def test_show_prints_the_public_keys_to_copy(acme: Run) -> None:
    acme("key", "new")
    shown = acme("key", "show", "--jwks")
    assert len(json.loads(shown.out)["keys"]) == 9  # four that sign, and one for each algorithm of two
    assert len(parse_key_set(shown.out.encode()).members) == 4
    assert no_private_part_in(shown.out)


def test_show_prints_all_client_metadata_of_a_tenant(acme: Run) -> None:
    acme("key", "new")
    shown = acme("key", "show", "acme")
    assert (shown.code, shown.err) == (0, "")
    head, *lines = shown.out.splitlines()
    assert head == "acme, provider default: https://login.acme.example"
    base = "https://portal.example/t/acme"
    assert by_need(lines) == {
        "Required": [
            ("client_id", "tenant-portal"),
            ("redirect_uris", f"{base}/callback"),
            ("response_types", "code"),
            ("grant_types", "authorization_code"),
            ("grant_types", "refresh_token"),
            ("scope", "openid profile email offline_access"),
            ("id_token_signed_response_alg", "RS256"),
            ("jwks_uri", "https://portal.example/.well-known/jwks.json"),
            ("token_endpoint_auth_method", "private_key_jwt"),
            ("token_endpoint_auth_signing_alg", "ES256"),
            ("id_token_encrypted_response_alg", "RSA-OAEP-256"),
            ("id_token_encrypted_response_enc", "A256GCM"),
        ],
        "Recommended": [
            ("client_name", "Tenant Portal"),
            ("post_logout_redirect_uris", f"{base}/signed-out"),
            ("backchannel_logout_uri", f"{base}/backchannel-logout"),
            ("backchannel_logout_session_required", "true"),
        ],
        "Only where the provider has no back-channel logout": [
            ("frontchannel_logout_uri", f"{base}/frontchannel-logout"),
            ("frontchannel_logout_session_required", "true"),
        ],
        "Only for sign-ins that begin at the provider": [("initiate_login_uri", f"{base}/initiate-login")],
    }


CLIENT_KEY = ACME.replace("signing_alg: ES256", "signing_key: own")


def test_show_prints_the_jwks_uri_of_a_registration_with_its_own_key(acme: Run) -> None:
    write("tenants/acme.yaml", CLIENT_KEY)
    acme("key", "new")
    metadata = json.loads(acme("key", "show", "acme", "--json").out)
    assert metadata["jwks_uri"] == "https://portal.example/t/acme/jwks.json"
    assert metadata["token_endpoint_auth_signing_alg"] == "ES256"
    shown = acme("key", "show", "acme", "--jwks").out
    assert no_private_part_in(shown)
    (own,) = parse_key_set(shown.encode()).members
    shared = json.loads(acme("key", "show", "--jwks").out)["keys"]
    assert own["alg"] == "ES256"
    assert own["kid"] not in {member["kid"] for member in shared}
    # all tenants share the portal's encryption keys
    encryption = [member for member in shared if member["use"] == "enc"]
    assert json.loads(shown)["keys"] == [own, *encryption]


def test_a_rotation_adds_a_key_of_a_registration_and_a_removal_deletes_the_old_one(acme: Run) -> None:
    write("tenants/acme.yaml", CLIENT_KEY)
    acme("key", "new")
    (shared,) = [key for key in load_client_keys(KEYS) if key.kind == "ES256"]

    def kids() -> list[object]:
        key_set = acme("key", "show", "acme", "--jwks").out
        return [member["kid"] for member in parse_key_set(key_set.encode()).members]

    (before,) = kids()
    assert "portal key show TENANT --jwks" in acme("key", "rotate", "--use", "signing").out
    new, old = kids()
    assert (old, len({new, before, shared.kid})) == (before, 3)
    acme("key", "remove", shared.kid)
    assert kids() == [new]


def by_need(lines: list[str]) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for line in lines:
        if not line.startswith("  "):
            found[line.removesuffix(":")] = rows = []
            continue
        name, value = line.split(maxsplit=1)
        rows.append((name, value))
    return found


@pytest.mark.parametrize(
    ("more", "client_keys"),
    [
        ("auth: none}", False),
        ("auth: private_key_jwt}", True),
        ("auth: none}\nrequest_object: signed", True),
        ("auth: none}\nid_token_encryption: {alg: RSA-OAEP}", True),
    ],
)
def test_show_prints_the_jwks_uri_only_where_the_keys_are_used(
    acme: Run, more: str, client_keys: bool
) -> None:
    write("tenants/acme.yaml", f"name: Acme\nissuer: https://a.example\nclient: {{id: x, {more}\n")
    metadata = json.loads(acme("key", "show", "acme", "--json").out)
    assert ("jwks_uri" in metadata) is client_keys
    assert "jwks" not in metadata


@pytest.mark.parametrize(
    ("preset", "scopes", "refreshes"),
    [
        ("generic", "[openid]", False),
        ("generic", "[openid, offline_access]", True),
        ("keycloak", "[openid]", True),  # refreshes without that scope
    ],
)
def test_show_prints_the_refresh_token_grant_only_where_it_is_requested(
    acme: Run, preset: str, scopes: str, refreshes: bool
) -> None:
    text = f"name: Acme\nissuer: https://a.example\npreset: {preset}\nscopes: {scopes}\n"
    write("tenants/acme.yaml", text + "client: {id: x, auth: none}\n")
    metadata = json.loads(acme("key", "show", "acme", "--json").out)
    assert ("refresh_token" in metadata["grant_types"]) is refreshes
    assert metadata["scope"] == " ".join(scopes.strip("[]").split(", "))


def test_show_prints_the_scopes_of_a_step_up_too(acme: Run) -> None:
    text = "name: Acme\nissuer: https://a.example\nclient: {id: x, auth: none}\n"
    write("tenants/acme.yaml", text + "scopes: [openid, a]\nstep_up_scopes: [b]\n")
    assert json.loads(acme("key", "show", "acme", "--json").out)["scope"] == "openid a b"


@pytest.mark.parametrize("file", ["ACME", "TWO", "CLIENT_KEY"])
def test_every_url_that_show_prints_is_served_by_the_portal(acme: Run, file: str) -> None:
    from tornado.routing import PathMatches

    from portal.routes import routes

    write("tenants/acme.yaml", {"ACME": ACME, "TWO": TWO, "CLIENT_KEY": CLIENT_KEY}[file])
    only = ("--provider", "staff") if file == "TWO" else ()
    metadata = json.loads(acme("key", "show", "acme", "--json", *only).out)
    urls = [*metadata["redirect_uris"], *metadata["post_logout_redirect_uris"]]
    urls += [value for name, value in metadata.items() if name.endswith("_uri")]
    patterns = [rule.matcher.regex for rule in routes()[:-1] if isinstance(rule.matcher, PathMatches)]
    for url in urls:
        path = url.removeprefix("https://portal.example")
        assert any(pattern.fullmatch(path) for pattern in patterns), url


def test_show_prints_the_redirect_uris_of_each_host_of_the_tenant(acme: Run) -> None:
    write("tenants/acme.yaml", ACME + "hosts: [portal.acme.example]\n")
    metadata = json.loads(acme("key", "show", "acme", "--json").out)
    assert metadata["redirect_uris"] == [
        "https://portal.example/t/acme/callback",
        "https://portal.acme.example/t/acme/callback",
    ]


TWO = """\
name: Acme
providers:
  staff: {issuer: https://a.example, client: {id: a, auth: private_key_jwt}}
  guests: {issuer: https://b.example, client: {id: b, auth: private_key_jwt}}
"""


def test_T1_show_and_check_print_the_redirect_uri_of_each_of_several_providers(acme: Run) -> None:
    write("tenants/acme.yaml", TWO + "hosts: [portal.acme.example]\n")
    base, own = "https://portal.example/t/acme/callback", "https://portal.acme.example/t/acme/callback"
    printed = json.loads(acme("key", "show", "acme", "--json").out)
    assert {name: metadata["redirect_uris"] for name, metadata in printed.items()} == {
        "staff": [f"{base}/staff", f"{own}/staff"],
        "guests": [f"{base}/guests", f"{own}/guests"],
    }
    lines = acme("tenant", "check").out.splitlines()
    assert [line for line in lines if " hint: " not in line] == [
        "✓ tenants/acme.yaml  Acme",
        *(f"  redirect URI of {name}: {url}/{name}" for name in ("staff", "guests") for url in (base, own)),
    ]


def test_show_prints_each_provider_of_a_tenant(acme: Run) -> None:
    write("tenants/acme.yaml", TWO)
    acme("key", "new")
    shown = acme("key", "show", "acme").out
    assert shown.startswith("acme, provider staff: https://a.example\nRequired:\n")
    assert "\n\nacme, provider guests: https://b.example\nRequired:\n" in shown
    printed = json.loads(acme("key", "show", "acme", "--json").out)
    client_ids = {name: metadata["client_id"] for name, metadata in printed.items()}
    assert client_ids == {"staff": "a", "guests": "b"}
    key_sets = json.loads(acme("key", "show", "acme", "--jwks").out)
    assert [(name, [*key_set]) for name, key_set in key_sets.items()] == [
        ("staff", ["keys"]),
        ("guests", ["keys"]),
    ]


def test_show_prints_only_the_selected_provider(acme: Run) -> None:
    write("tenants/acme.yaml", TWO)
    acme("key", "new")
    assert "staff" not in acme("key", "show", "acme", "--provider", "guests").out
    metadata = json.loads(acme("key", "show", "acme", "--provider", "guests", "--json").out)
    assert metadata["client_id"] == "b"
    assert [*json.loads(acme("key", "show", "acme", "--provider", "guests", "--jwks").out)] == ["keys"]
    unknown = acme("key", "show", "acme", "--provider", "guest")
    assert (unknown.code, unknown.out) == (2, "")
    assert unknown.err == 'acme: has no provider "guest"; did you mean "guests"?\n'
    alone = acme("key", "show", "--provider", "guests")
    assert alone.code == 2
    assert "portal key show TENANT --provider ID" in alone.err


def test_show_warns_when_its_urls_use_the_default_public_url(run: Run) -> None:
    write("tenants/acme.yaml", ACME)
    run("key", "new")
    notice = "URLs use the default http://localhost:8080: pass --config or set PORTAL_PUBLIC_URL.\n"
    assert run("key", "show", "acme").err == notice
    assert run("key", "show", "acme", "--json").err == notice
    assert run("key", "show").err == notice
    assert run("key", "show", "acme", "--jwks").err == ""
    named = run("key", "show", "acme", environ={"PORTAL_PUBLIC_URL": "https://portal.example"})
    assert named.err == ""


@pytest.mark.parametrize("method", ["tls_client_auth", "self_signed_tls_client_auth"])
def test_show_prints_how_to_register_a_certificate(acme: Run, method: str) -> None:
    certificate = issue("portal")
    write("tenants/acme.pem", certificate.chain)
    write("tenants/acme.key", certificate.private_key())
    client = f"{{id: x, auth: {method}, certificate: 'file:acme.pem', private_key: 'file:acme.key'}}"
    write("tenants/acme.yaml", f"name: Acme\nissuer: https://a.example\nclient: {client}\n")
    acme("key", "new")
    metadata = json.loads(acme("key", "show", "acme", "--json").out)
    assert metadata["token_endpoint_auth_method"] == method
    assert (metadata.get("tls_client_auth_subject_dn") == "CN=portal") is (method == "tls_client_auth")
    assert {"jwks_uri", "x5t#S256"}.isdisjoint(metadata)
    if method == "tls_client_auth":
        assert "jwks" not in metadata
        return
    (member,) = metadata["jwks"]["keys"]
    assert "".join(certificate.chain.splitlines()[1:-1]) == member["x5c"][0]
    assert (member["kty"], member["crv"]) == ("EC", "P-256")
    assert PRIVATE_PARTS.isdisjoint(member)
    assert json.loads(acme("key", "show", "acme", "--jwks").out) == metadata["jwks"]
    required = by_need(acme("key", "show", "acme").out.splitlines()[1:])["Required"]
    assert ("jwks", "portal key show acme --jwks") in required
    assert not [name for name, _ in required if name == "jwks_uri"]


def test_a_self_signed_certificate_with_signed_requests_needs_the_keys_of_both(acme: Run) -> None:
    certificate = issue("portal")
    write("tenants/acme.pem", certificate.chain)
    write("tenants/acme.key", certificate.private_key())
    write(
        "tenants/acme.yaml",
        "name: Acme\nissuer: https://a.example\nrequest_object: signed\nclient:\n  id: x\n"
        "  auth: self_signed_tls_client_auth\n  certificate: file:acme.pem\n  private_key: file:acme.key\n",
    )
    acme("key", "new")
    keys = json.loads(acme("key", "show", "acme", "--jwks").out)["keys"]
    assert "x5c" in keys[0]
    assert keys[1:] == json.loads(acme("key", "show", "--jwks").out)["keys"]
    metadata = json.loads(acme("key", "show", "acme", "--json").out)
    assert metadata["jwks"] == {"keys": keys}
    assert "jwks_uri" not in metadata
    assert no_private_part_in(json.dumps(keys))


def test_show_of_a_missing_or_invalid_tenant_is_an_error(acme: Run) -> None:
    missing = acme("key", "show", "nobody")
    assert (missing.code, missing.err) == (2, "nobody: has no tenant file in tenants\n")
    write("tenants/acme.yaml", "name: Acme\n")
    assert acme("key", "show", "acme").code == 2


def test_rotate_prints_when_the_new_keys_sign_and_which_providers_need_a_copy(acme: Run) -> None:
    acme("key", "new")
    old = load_client_keys(KEYS)
    rotated = acme("key", "rotate")
    assert rotated.code == 0
    new = [key for key in load_client_keys(KEYS) if key not in old and key.kid not in {k.kid for k in old}]
    assert len(new) == len(old) == 6
    assert all(key.kid in rotated.out for key in new)
    for text in (
        "encrypts from now on",
        "sign from 20",
        "stay published",
        "still decrypt",
        "portal key show --jwks",
    ):
        assert text in rotated.out
    listed = acme("key", "list").out
    for key in old:
        assert f"{key.kid}  " in listed
    assert listed.count("published, signs from 20") == 4
    assert no_private_part_in(rotated.out + listed)


def test_rotate_affects_only_the_selected_keys(acme: Run) -> None:
    acme("key", "new")
    before = KeyRing.load(KEYS).kids
    assert "encrypts" not in acme("key", "rotate", "--use", "signing").out
    assert KeyRing.load(KEYS).kids == before
    assert len(load_client_keys(KEYS)) == 10
    assert acme("key", "rotate", "--use", "vault").out.count("\n") == 1
    assert len(load_client_keys(KEYS)) == 10


def test_remove_deletes_a_replaced_key(acme: Run) -> None:
    acme("key", "new")
    (old, *_) = load_client_keys(KEYS)
    refused = acme("key", "remove", old.kid)
    assert refused.code == 2
    assert "portal key rotate" in refused.err
    acme("key", "rotate")
    removed = acme("key", "remove", old.kid)
    assert removed.code == 0
    assert old.kid not in acme("key", "show").out
    young = next(key for key in load_client_keys(KEYS) if key.kind == old.kind)
    assert (
        f"{young.kid} ({old.kind}) signs from now on. Providers that have not fetched it yet reject the "
        "portal until they do.\n"
    ) in removed.out


def test_remove_of_a_key_that_does_not_sign_prints_no_warning(acme: Run) -> None:
    acme("key", "new")
    old = {key.kid for key in load_client_keys(KEYS)}
    acme("key", "rotate")
    new = next(key for key in load_client_keys(KEYS) if key.kid not in old)
    assert (new.use, acme("key", "remove", new.kid).out.count("\n")) == ("sig", 1)
    encrypting = next(key for key in load_client_keys(KEYS) if key.use == "enc")
    assert acme("key", "remove", encrypting.kid).out.count("\n") == 1


@pytest.mark.parametrize("begin", ["-", "--"])
def test_remove_accepts_a_key_id_that_begins_like_an_option(acme: Run, begin: str) -> None:
    acme("key", "new")
    made = next(
        key for key in iter(lambda: new_private_jwk("EdDSA"), None) if str(key["kid"]).startswith(begin)
    )
    document = json.loads(KEYS.read_text())
    document["keys"].append({**made, "use": "sig", "kind": "EdDSA", "created_at": 1.0})
    KEYS.write_text(json.dumps(document))
    assert acme("key", "remove", made["kid"]).code == 0
    assert made["kid"] not in {key.kid for key in load_client_keys(KEYS)}


def test_remove_accepts_a_key_id_that_begins_like_the_help_option(acme: Run) -> None:
    acme("key", "new")
    assert "has no signing or encryption key -h4x;" in acme("key", "remove", "-h4x").err


@pytest.mark.parametrize("mtls", ["true", "false"])
def test_show_prints_certificate_bound_tokens_where_the_api_uses_mtls(acme: Run, mtls: str) -> None:
    certificate = issue("portal")
    write("tenants/acme.pem", certificate.chain)
    write("tenants/acme.key", certificate.private_key())
    client = "{id: x, auth: private_key_jwt, certificate: 'file:acme.pem', private_key: 'file:acme.key'}"
    api = f"{{base_url: 'https://api.example', mtls: {mtls}}}"
    write("tenants/acme.yaml", f"name: Acme\nissuer: https://a.example\nclient: {client}\napi: {api}\n")
    metadata = json.loads(acme("key", "show", "acme", "--json").out)
    assert ("tls_client_certificate_bound_access_tokens" in metadata) is (mtls == "true")
