"""`portal key`: what it says of the portal's own keys, and of what is to be registered where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from portal.oidc.keys import parse_key_set
from portal.sessions.keyring import KeyRing
from portal.sessions.own_key_ring import load_own_keys
from tests.unit.oidc.certificates import issue
from tests.unit.test_cli import Run, run, write

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

    def run_here(*arguments: str, **options: object) -> object:
        return run(*arguments, "--config", "portal.yaml", **options)

    return run_here


def no_private_part_in(text: str) -> bool:
    entries = json.loads(KEYS.read_text())["keys"]
    private = [str(entry[part]) for entry in entries for part in PRIVATE_PARTS & entry.keys()]
    return bool(private) and not any(part in text for part in private)


def test_show_tells_the_address_and_the_keys_and_makes_those_that_are_missing(acme: Run) -> None:
    KeyRing.create(KEYS)
    shown = acme("key", "show")
    assert (shown.code, shown.err) == (0, "")
    assert "https://portal.example/.well-known/jwks.json" in shown.out
    assert {key.kid for key in load_own_keys(KEYS)} <= set(shown.out.split())
    for alg in ("RS256", "PS256", "ES256", "EdDSA"):
        assert f"{alg}  published, signs\n" in shown.out
    assert no_private_part_in(shown.out)


def test_show_gives_the_public_keys_to_copy(acme: Run) -> None:
    acme("key", "new")
    shown = acme("key", "show", "--jwks")
    assert len(json.loads(shown.out)["keys"]) == 9  # four that sign, and one for each algorithm of two
    assert len(parse_key_set(shown.out.encode()).members) == 4
    assert no_private_part_in(shown.out)


def test_show_tells_all_that_is_to_be_registered_for_a_tenant(acme: Run) -> None:
    acme("key", "new")
    shown = acme("key", "show", "acme")
    assert (shown.code, shown.err) == (0, "")
    head, *lines = shown.out.splitlines()
    assert head == "acme, provider default: https://login.acme.example"
    pairs = [tuple(line.split(maxsplit=1)) for line in lines]
    base = "https://portal.example/t/acme"
    assert {
        ("client_id", "tenant-portal"),
        ("redirect_uris", f"{base}/callback"),
        ("post_logout_redirect_uris", f"{base}/signed-out"),
        ("initiate_login_uri", f"{base}/initiate-login"),
        ("backchannel_logout_uri", f"{base}/backchannel-logout"),
        ("frontchannel_logout_uri", f"{base}/frontchannel-logout"),
        ("jwks_uri", "https://portal.example/.well-known/jwks.json"),
        ("token_endpoint_auth_method", "private_key_jwt"),
        ("token_endpoint_auth_signing_alg", "ES256"),
        ("id_token_encrypted_response_alg", "RSA-OAEP-256"),
        ("id_token_encrypted_response_enc", "A256GCM"),
    } <= set(pairs)
    assert all(line.startswith("  ") and len(line.split()) == 2 for line in lines)


def test_every_address_that_show_names_is_served_by_the_portal(acme: Run) -> None:
    from tornado.routing import PathMatches

    from portal.routes import routes

    metadata = json.loads(acme("key", "show", "acme", "--json").out)
    named = [*metadata["redirect_uris"], *metadata["post_logout_redirect_uris"]]
    named += [value for name, value in metadata.items() if name.endswith("_uri")]
    patterns = [rule.matcher.regex for rule in routes()[:-1] if isinstance(rule.matcher, PathMatches)]
    for address in named:
        path = address.removeprefix("https://portal.example")
        assert any(pattern.fullmatch(path) for pattern in patterns), address


def test_show_names_the_addresses_under_each_host_of_the_tenant(acme: Run) -> None:
    write("tenants/acme.yaml", ACME + "hosts: [portal.acme.example]\n")
    metadata = json.loads(acme("key", "show", "acme", "--json").out)
    assert metadata["redirect_uris"] == [
        "https://portal.example/t/acme/callback",
        "https://portal.acme.example/t/acme/callback",
    ]


def test_show_tells_each_provider_of_a_tenant(acme: Run) -> None:
    write(
        "tenants/acme.yaml",
        "name: Acme\nproviders:\n  staff: {issuer: https://a.example, client: {id: a, auth: none}}\n"
        "  guests: {issuer: https://b.example, client: {id: b, auth: none}}\n",
    )
    shown = acme("key", "show", "acme").out
    assert "acme, provider staff: https://a.example\n" in shown
    assert "\n\nacme, provider guests: https://b.example\n" in shown


@pytest.mark.parametrize("method", ["tls_client_auth", "self_signed_tls_client_auth"])
def test_show_tells_how_a_certificate_is_registered(acme: Run, method: str) -> None:
    certificate = issue("portal")
    write("tenants/acme.pem", certificate.chain)
    write("tenants/acme.key", certificate.private_key())
    client = f"{{id: x, auth: {method}, certificate: 'file:acme.pem', private_key: 'file:acme.key'}}"
    write("tenants/acme.yaml", f"name: Acme\nissuer: https://a.example\nclient: {client}\n")
    acme("key", "new")
    metadata = json.loads(acme("key", "show", "acme", "--json").out)
    assert metadata["token_endpoint_auth_method"] == method
    assert (metadata.get("tls_client_auth_subject_dn") == "CN=portal") is (method == "tls_client_auth")
    (member, *others) = json.loads(acme("key", "show", "acme", "--jwks").out)["keys"]
    if method == "self_signed_tls_client_auth":
        assert others == []
        assert "".join(certificate.chain.splitlines()[1:-1]) == member["x5c"][0]
        assert (member["kty"], member["crv"]) == ("EC", "P-256")
        assert member["x5t#S256"] == metadata["x5t#S256"]
    assert PRIVATE_PARTS.isdisjoint(member)


def test_show_of_a_tenant_that_cannot_be_used_tells_why(acme: Run) -> None:
    missing = acme("key", "show", "nobody")
    assert (missing.code, missing.err) == (2, "nobody: there is no tenant file for it in tenants\n")
    write("tenants/acme.yaml", "name: Acme\n")
    assert acme("key", "show", "acme").code == 2


def test_rotate_tells_when_the_new_keys_sign_and_who_has_to_be_told(acme: Run) -> None:
    acme("key", "new")
    old = load_own_keys(KEYS)
    rotated = acme("key", "rotate")
    assert rotated.code == 0
    new = [key for key in load_own_keys(KEYS) if key not in old and key.kid not in {k.kid for k in old}]
    assert len(new) == len(old) == 6
    assert all(key.kid in rotated.out for key in new)
    for words in (
        "seals from now on",
        "sign from 20",
        "stay published",
        "still open",
        "portal key show --jwks",
    ):
        assert words in rotated.out
    listed = acme("key", "list").out
    for key in old:
        assert f"{key.kid}  " in listed
    assert listed.count("published, signs from 20") == 4
    assert no_private_part_in(rotated.out + listed)


def test_rotate_takes_only_the_keys_that_are_named(acme: Run) -> None:
    acme("key", "new")
    before = KeyRing.load(KEYS).kids
    assert "seals" not in acme("key", "rotate", "--use", "signing").out
    assert KeyRing.load(KEYS).kids == before
    assert len(load_own_keys(KEYS)) == 10
    assert acme("key", "rotate", "--use", "vault").out.count("\n") == 1
    assert len(load_own_keys(KEYS)) == 10


def test_remove_takes_a_replaced_key_out(acme: Run) -> None:
    acme("key", "new")
    (old, *_) = load_own_keys(KEYS)
    refused = acme("key", "remove", old.kid)
    assert refused.code == 2
    assert "portal key rotate" in refused.err
    acme("key", "rotate")
    assert acme("key", "remove", old.kid).code == 0
    assert old.kid not in acme("key", "show").out
