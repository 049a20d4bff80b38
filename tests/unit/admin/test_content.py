"""Contents of tenants of the database: secrets are sealed, shown as hashes, and kept by them."""

from __future__ import annotations

import pytest

from portal.admin.content import as_shown, difference, shown, shown_safely, stored, text_difference
from portal.errors import ConfigurationError, Problem, VaultError
from portal.tenancy.loading import read_stored_tenant

TYPED = """\
# Äcme 😀
name: "Acme 😀"
issuer: https://login.acme.example
client:
  id: portal
  secret: hunter2   # from the provider
scopes: [openid]
"""


def seal(secret: str) -> str:
    return secret[::-1]


def as_stored(typed: str, before: str = "") -> str:
    return stored(typed, "acme", before=before, seal=seal)


def problem(typed: str, before: str = "") -> str:
    with pytest.raises(ConfigurationError) as caught:
        as_stored(typed, before)
    [only] = caught.value.problems
    return str(only)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (TYPED, TYPED.replace("hunter2", "sealed:2retnuh")),
        (TYPED.replace("hunter2", "'hunter2'"), TYPED.replace("hunter2", "sealed:2retnuh")),
        (TYPED.replace("hunter2   # from the provider", "|-\n    hunter2"), None),
        (TYPED.replace("\n", "\r\n"), TYPED.replace("hunter2", "sealed:2retnuh").replace("\n", "\r\n")),
        ("client: {id: a, secret: hunter2}\n", "client: {id: a, secret: sealed:2retnuh}\n"),
        ("client: {id: a, client_secret: hunter2}\n", "client: {id: a, client_secret: sealed:2retnuh}\n"),
        ("providers: {a: {client: {secret: x1}}, b: {client: {secret: x2}}}\n",
         "providers: {a: {client: {secret: sealed:1x}}, b: {client: {secret: sealed:2x}}}\n"),
        ("api: {tls: {ca: pem}}\n", "api: {tls: {ca: sealed:mep}}\n"),
    ],
)  # fmt: skip
def test_each_secret_is_sealed_and_the_rest_stays(typed: str, expected: str | None) -> None:
    content = as_stored(typed)
    assert expected is None or content == expected
    assert "hunter2" not in content
    assert as_stored(content, before=content) == content


def test_a_block_of_several_lines_is_sealed_as_one() -> None:
    typed = "client:\n  private_key: |\n    -----BEGIN X\n    abc\n  id: portal\n"
    assert as_stored(typed) == "client:\n  private_key: sealed:\ncba\nX NIGEB-----\n  id: portal\n".replace(
        "sealed:\ncba\nX NIGEB-----", "sealed:" + "-----BEGIN X\nabc\n"[::-1]
    )


def test_a_shown_secret_can_be_kept_but_not_read_or_taken_elsewhere() -> None:
    content = as_stored(TYPED)
    seen = shown(content, "acme")
    assert "2retnuh" not in seen
    assert as_stored(seen.replace("Acme", "Acme Ltd"), before=content) == content.replace("Acme", "Acme Ltd")
    message = "acme:6:11: is a secret that is not stored here; type it again"
    assert problem(seen, before=as_stored(TYPED.replace("hunter2", "other"))) == message
    assert problem(seen) == message
    assert problem(content) == message, "a sealed value of another tenant"


def test_what_is_not_yaml_is_refused_with_its_place() -> None:
    assert problem("a: &x 1\n").startswith("acme:1:4: an anchor")


def open_sealed(sealed: str) -> str:
    if sealed == "lost":
        raise VaultError("no key")
    return sealed[::-1]


def test_a_stored_content_is_read_as_a_tenant() -> None:
    tenant = read_stored_tenant("acme", as_stored(TYPED), open_sealed=open_sealed).tenant
    secret = tenant.providers["default"].client_secret
    assert secret is not None
    assert (tenant.slug, tenant.name, secret.reveal()) == ("acme", "Acme 😀", "hunter2")


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ("file:/etc/passwd", "cannot name a file or variable of the portal's host here; type the secret"),
        ("${HOME}", "cannot name a file or variable of the portal's host here; type the secret itself"),
        ("sealed:lost", "was sealed with a key that this portal does not have; type the secret again"),
    ],
)
def test_A4_a_tenant_of_the_database_reads_nothing_of_the_host(secret: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_stored_tenant("acme", TYPED.replace("hunter2", secret), open_sealed=open_sealed)
    assert message in str(caught.value)


@pytest.mark.parametrize("address", ["http://localhost:1", "https://10.0.0.1", "https://169.254.169.254"])
def test_A4_a_tenant_of_the_database_has_no_private_address(address: str) -> None:
    for content in (
        TYPED.replace("https://login.acme.example", address),
        f"{TYPED}api: {{base_url: '{address}'}}\n",
    ):
        with pytest.raises(ConfigurationError):
            read_stored_tenant("acme", content, open_sealed=open_sealed)


@pytest.mark.parametrize("pem", ["file:/etc/ssl/ca.pem", "${PEM}", "text"])
def test_A4_certificates_of_a_tenant_of_the_database_are_pasted(pem: str) -> None:
    content = f"{TYPED}api: {{base_url: 'https://api.acme.example', tls: {{ca: '{pem}'}}}}\n"
    with pytest.raises(ConfigurationError) as caught:
        read_stored_tenant("acme", content, open_sealed=open_sealed)
    assert "api.tls.ca" in str(caught.value)


def test_a_difference_shows_hashes_and_no_secret() -> None:
    before = as_stored(TYPED)
    after = as_stored(TYPED.replace("hunter2", "other").replace("Acme", "Acme Ltd"))
    lines = difference("acme", before, after)
    assert '+name: "Acme Ltd 😀"' in lines
    assert lines.count("sealed:") == 2
    assert not {"2retnuh", "rehto", "hunter2", "other"} & set(lines.replace(":", " ").split())
    assert difference("acme", before, before) == ""


def test_a_secret_that_cannot_be_read_is_reported_at_its_place() -> None:
    def resolve(text: str) -> str:
        raise ValueError("needs the environment variable ACME, which is not set")

    with pytest.raises(ConfigurationError) as caught:
        stored(TYPED, "acme", seal=seal, resolve=resolve)
    assert str(caught.value) == "acme:6:11: needs the environment variable ACME, which is not set"


@pytest.mark.parametrize("reference", ["file:/etc/passwd", "${HOME}"])
def test_A4_a_typed_reference_is_not_sealed(reference: str) -> None:
    message = "acme:6:11: cannot name a file or variable of the portal's host here; type the secret itself"
    assert problem(TYPED.replace("hunter2", f'"{reference}"')) == message


def test_A4_a_kept_secret_is_not_sent_to_another_address() -> None:
    before = as_stored(TYPED)
    seen = shown(before, "acme")
    moved = "acme:6:11: would be sent to another address now; type it again"
    assert problem(seen.replace("login.acme", "login.evil"), before=before) == moved
    for more in (
        "endpoints: {token: 'https://evil.example/token'}",
        "discovery: false",
        "preset: keycloak",
        "tls: {ca: pem}",
    ):
        assert moved in problem_texts(f"{seen}{more}\n", before), more
    assert as_stored(f"{seen}max_age: 1h\n", before=before).startswith(before)


def test_A4_a_kept_certificate_is_presented_to_no_other_api() -> None:
    keys = "client: {certificate: c, private_key: k}\n"
    apis = "api: {base_url: https://a.example, mtls: true}\napis: {b: {base_url: https://b.example}}\n"
    before = as_stored(f"issuer: https://i.example\n{keys}{apis}")
    seen = shown(before, "acme")
    moved = "would be sent to another address now; type it again"
    for change in (
        ("https://a.example", "https://evil.example"),
        ("https://b.example", "https://b.example, mtls: true"),
        ("{b:", "{c: {base_url: https://c.example, mtls: true}, b:"),
        ("mtls: true", "mtls: true, tls: {ca: pem}"),
    ):
        assert " ".join(problem_texts(seen.replace(*change), before)).count(moved) == 2, change
    for change in (
        ("https://b.example", "https://c.example"),
        ("{b:", "{c: {base_url: https://c.example}, b:"),
        ("mtls: true", "mtls: true, timeout: 5s"),
        (", mtls: true", ""),
        ("api: {base_url: https://a.example, mtls: true}\n", ""),
    ):
        assert as_stored(seen.replace(*change), before=before) == before.replace(*change), change


def test_A4_a_kept_secret_stays_at_its_key() -> None:
    content = "providers: {a: {issuer: x, client: {secret: s1}}, b: {issuer: x, client: {secret: s2}}}\n"
    before = as_stored(content)
    first, second = (line.partition("}")[0] for line in shown(before, "acme").split("sealed:")[1:])
    swapped = content.replace("s1", f"sealed:{second}").replace("s2", f"sealed:{first}")
    assert "acme:1:45: is a secret that is not stored here; type it again" in problem_texts(swapped, before)


def test_a_secret_is_kept_when_its_provider_becomes_one_of_several() -> None:
    before = as_stored("issuer: https://a.example\nclient: {secret: s1}\n")
    kept = shown(before, "acme").partition("secret: ")[2].strip("}\n")
    several = "providers: {{a: {{issuer: {}, client: {{secret: {}}}}}}}\n"
    made = as_stored(several.format("https://a.example", kept), before=before)
    assert made == several.format("https://a.example", "sealed:1s")
    moved = "acme:1:61: would be sent to another address now; type it again"
    assert problem_texts(several.format("https://b.example", kept), before) == [moved]


def problem_texts(typed: str, before: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        as_stored(typed, before)
    return [str(one) for one in caught.value.problems]


def test_a_content_that_is_too_large_is_refused_before_and_after_sealing() -> None:
    with pytest.raises(ConfigurationError, match="acme: is larger than 256 KB"):
        as_stored(TYPED + "#" * 300_000)
    with pytest.raises(ConfigurationError, match="acme: is larger than 256 KB"):
        stored(TYPED, "acme", seal=lambda secret: "x" * 300_000)


def test_a_byte_order_mark_moves_no_text() -> None:
    assert as_stored("\ufeff" + TYPED) == as_stored(TYPED)


@pytest.mark.parametrize("nothing", ["~", "null", "", "Null"])
def test_an_empty_secret_is_refused(nothing: str) -> None:
    assert "is empty; type the secret, or remove the key" in problem(TYPED.replace("hunter2", nothing))


def test_a_secret_in_quotes_may_look_like_nothing() -> None:
    assert "sealed:~" in as_stored(TYPED.replace("hunter2", '"~"'))


def test_a_content_that_cannot_be_read_is_shown_without_sealed_values() -> None:
    assert shown_safely("a: &b sealed:abc.DEF-_\n", "acme").startswith("a: &b sealed:")
    assert "abc.DEF" not in shown_safely("a: &b sealed:abc.DEF-_\n", "acme")
    content = as_stored(TYPED)
    assert shown_safely(content, "acme") == shown(content, "acme")


def test_a_difference_in_many_lines_has_the_lines_around_it() -> None:
    before = "".join(f"- {number}\n" for number in range(9_000))
    after = before.replace("- 7000\n", "- x\n- y\n")
    assert text_difference(before, after).splitlines() == [
        "--- live", "+++ new", "@@ -6998,7 +6998,8 @@", " - 6997", " - 6998", " - 6999",
        "-- 7000", "+- x", "+- y", " - 7001", " - 7002", " - 7003",
    ]  # fmt: skip
    assert text_difference(before, before) == ""
    assert text_difference(before, before + "- more\n").splitlines()[-1] == "+- more"


def test_a_difference_of_very_many_lines_is_made_without_searching() -> None:
    before = "".join(f"- {number}\n" for number in range(9_000))
    after = before.replace("8\n", "x\n")
    lines = text_difference("- a\n" + before, "- a\n" + after).splitlines()
    assert lines[2:4] == ["@@ -10,8991 +10,8991 @@", "-- 8"]
    assert len(lines) == 3 + 2 * 8_991


def test_a_difference_shows_every_character_that_changed() -> None:
    assert text_difference("a: b\u2028c\n", "a: b\nc\n").splitlines()[-2:] == ["+a: b", "+c"]
    assert text_difference("a: b\r\n", "a: b\n") == ""


def test_what_is_only_named_like_a_secret_keeps_working() -> None:
    """A preset may ask for such a field, and a provider may be named so."""
    typed = (
        TYPED + "fields: {private_realm: one}\nauthorize_params: {no_password: two, prompt: login}\n"
        "requested_claims: {userinfo: {is_private_email: {essential: true}}}\n"
    )
    content = as_stored(typed)
    assert "private_realm: sealed:eno" in content
    assert "is_private_email: {essential: true}" in content
    again = as_stored(shown(content, "acme").replace("Acme", "Other"), before=content)
    assert again == content.replace("Acme", "Other")
    sealed = as_stored("providers: {private-idp: {issuer: a, client: {id: b}}}\n")
    assert "sealed" not in sealed
    params = (
        read_stored_tenant(
            "acme", content.replace("fields: {private_realm: sealed:eno}\n", ""), open_sealed=open_sealed
        )
        .tenant.providers["default"]
        .authorize_params
    )
    assert dict(params) == {"no_password": "two", "prompt": "login"}


# --- two client secrets

TWO = "client: {id: a, secret: [{value: first, expires_at: 2027-01-31}, {value: second}]}\n"


def test_each_of_two_client_secrets_is_sealed() -> None:
    content = as_stored(TWO)
    assert content == TWO.replace("first", "sealed:tsrif").replace("second", "sealed:dnoces")
    assert as_stored("client: {secret: {value: x1}}\n") == "client: {secret: {value: sealed:1x}}\n"


@pytest.mark.parametrize(
    "typed",
    [
        "client: {secret: [hunter2]}\n",
        "client: {secret: {valeu: hunter2}}\n",
        "client: {secret: [{value: {a: hunter2}}]}\n",
        "clinet: {secret: hunter2}\n",
        "fields: {client_secret: hunter2}\n",
        "authorize_params: {Password: hunter2}\n",
        "providers: {a: {fields: {private_key: [hunter2]}}}\n",
    ],
)
def test_a_secret_in_a_form_that_is_not_accepted_is_sealed_too(typed: str) -> None:
    """A draft may be invalid, and is stored."""
    assert "hunter2" not in as_stored(typed)


def test_kept_secrets_may_change_places_and_the_first_may_go() -> None:
    content = as_stored(TWO)
    first, second = (
        part.partition("}")[0].partition(",")[0] for part in shown(content, "acme").split("value: ")[1:]
    )
    assert first != second
    for typed, expected in (
        (f"[{{value: {second}}}, {{value: {first}}}]", "[{value: sealed:dnoces}, {value: sealed:tsrif}]"),
        (f"[{{value: {second}}}]", "[{value: sealed:dnoces}]"),
        (second, "sealed:dnoces"),
        (f"[{{value: new}}, {{value: {first}}}]", "[{value: sealed:wen}, {value: sealed:tsrif}]"),
    ):
        made = as_stored(f"client: {{id: a, secret: {typed}}}\n", before=content)
        assert made == f"client: {{id: a, secret: {expected}}}\n"


def test_a_single_secret_is_kept_when_a_second_one_is_added() -> None:
    content = as_stored("client: {id: a, secret: first}\n")
    kept = shown(content, "acme").partition("secret: ")[2].rstrip("}\n")
    typed = f"client: {{id: a, secret: [{{value: {kept}}}, {{value: second}}]}}\n"
    assert "sealed:tsrif" in as_stored(typed, before=content)
    moved = typed.replace("client:", "issuer: https://other.example\nclient:")
    assert "would be sent to another address" in problem(moved, before=content)


def test_a_client_secret_is_not_kept_as_that_of_another_provider_or_as_a_key() -> None:
    content = as_stored("providers: {a: {client: {secret: one}}, b: {client: {id: b}}}\n")
    kept = shown(content, "acme").partition("secret: ")[2].partition("}")[0]
    for typed in (
        f"providers: {{a: {{}}, b: {{client: {{secret: [{{value: {kept}}}]}}}}}}\n",
        f"providers: {{a: {{client: {{private_key: {kept}}}}}}}\n",
    ):
        assert "is a secret that is not stored here" in problem(typed, before=content)


def test_a_problem_behind_a_secret_is_shown_at_its_column() -> None:
    content = "client: {secret: sealed:" + "x" * 200 + ", audience: 1}\nname: 1\n"
    column = content.index("audience") + 1
    problems = [Problem(f"acme:1:{column}", "a"), Problem("acme:2:7", "b"), Problem("acme", "c")]
    behind, below, nowhere = as_shown(problems, content)
    line = shown(content, "acme").splitlines()[0]
    assert behind.place == f"acme:1:{line.index('audience') + 1}"
    assert [below, nowhere] == problems[1:]
