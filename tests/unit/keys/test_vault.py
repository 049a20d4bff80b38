"""A sealed value opens only unchanged and only for its own document."""

from __future__ import annotations

import base64
import hmac
import json
from pathlib import Path

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from jose import jwe

from portal.errors import VaultError
from portal.keys.key_ring import KeyRing
from portal.keys.vault import MAX_SEALED_BYTES, Vault
from portal.oidc.provider import TokenSet
from portal.secret import Secret

DOCUMENT = "session-1:acme"
TEXT = "a secret refresh token"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vault") / "keys.json"


@pytest.fixture(scope="module")
def vault(path: Path) -> Vault:
    return Vault(KeyRing.load_or_create(path))


@pytest.fixture
def own_path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def header_of(sealed: str) -> dict[str, object]:
    part = sealed.split(".", maxsplit=1)[0]
    header: dict[str, object] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return header


def refused(vault: Vault, sealed: str, document: str = DOCUMENT) -> str:
    """Return the message of the VaultError from `open`, after checking that it contains no plaintext."""
    with pytest.raises(VaultError) as caught:
        vault.open(document, sealed)
    assert TEXT not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


# --- values that open


def test_a_sealed_value_is_a_compact_jwe_that_names_its_key(vault: Vault, path: Path) -> None:
    sealed = vault.seal(DOCUMENT, TEXT)
    assert header_of(sealed) == {"alg": "dir", "enc": "A256GCM", "kid": KeyRing.load(path).newest.kid}
    assert sealed.count(".") == 4
    assert TEXT not in sealed
    assert base64.urlsafe_b64encode(TEXT.encode()).decode()[:20] not in sealed
    assert vault.open(DOCUMENT, sealed) == TEXT


@pytest.mark.parametrize("text", ["", TEXT, 'é \U0001f600 " \\ \n \x00 \ud800', "x" * 100_000])
def test_python_jose_opens_a_sealed_value(vault: Vault, path: Path, text: str) -> None:
    opened = jwe.decrypt(vault.seal(DOCUMENT, text), KeyRing.load(path).newest.secret)
    assert json.loads(opened or b"") == {"document": DOCUMENT, "text": text}


def test_a_value_that_python_jose_sealed_opens(vault: Vault, path: Path) -> None:
    key = KeyRing.load(path).newest
    content = json.dumps({"document": DOCUMENT, "text": TEXT}, separators=(",", ":"))
    sealed = jwe.encrypt(content, key.secret, encryption="A256GCM", algorithm="dir", kid=key.kid).decode()
    assert vault.open(DOCUMENT, sealed) == TEXT
    assert vault.seal(DOCUMENT, TEXT).partition(".")[0] == sealed.partition(".")[0]


def test_each_sealed_value_has_another_initialization_vector(vault: Vault) -> None:
    vectors = {vault.seal(DOCUMENT, TEXT).split(".")[2] for _ in range(1_000)}
    assert len(vectors) == 1_000
    assert {len(vector) for vector in vectors} == {16}


def test_sealing_the_same_text_twice_gives_different_values(vault: Vault) -> None:
    assert len({vault.seal(DOCUMENT, TEXT) for _ in range(100)}) == 100


@settings(deadline=None)
@given(document=st.text(st.characters()), text=st.text(st.characters(), max_size=2000))
def test_any_text_opens_unchanged(vault: Vault, document: str, text: str) -> None:
    assert vault.open(document, vault.seal(document, text)) == text


secrets = st.text(st.characters(), max_size=200).map(Secret)
token_sets = st.builds(
    TokenSet,
    access_token=secrets,
    expires_at=st.integers(0, 4_000_000_000_000).map(lambda value: value / 1000),
    token_type=st.text(max_size=20),
    scope=st.lists(st.text(max_size=20), max_size=5).map(tuple),
    refresh_token=st.none() | secrets,
    id_token=st.none() | secrets,
)


@settings(deadline=None)
@given(tokens=token_sets)
def test_any_token_set_opens_unchanged(vault: Vault, tokens: TokenSet) -> None:
    assert vault.open_tokens(DOCUMENT, vault.seal_tokens(DOCUMENT, tokens)) == tokens


# --- values that do not open


@pytest.mark.parametrize(
    "other", ["session-1:globex", "session-2:acme", "", DOCUMENT + "\0", DOCUMENT.upper()]
)
def test_a_value_moved_to_another_document_does_not_open(vault: Vault, other: str) -> None:
    assert "another document" in refused(vault, vault.seal(DOCUMENT, TEXT), other)


def test_a_value_larger_than_any_sealed_one_is_not_decrypted(vault: Vault) -> None:
    header, _, iv, _, tag = vault.seal(DOCUMENT, TEXT).split(".")
    assert "malformed" in refused(vault, f"{header}..{iv}.{'A' * MAX_SEALED_BYTES}.{tag}")


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def test_a_value_with_any_bit_flipped_does_not_open(vault: Vault) -> None:
    sealed = vault.seal(DOCUMENT, TEXT)
    for position, character in enumerate(sealed):
        for bit in range(6):
            flipped = "." if character == "." else ALPHABET[ALPHABET.index(character) ^ (1 << bit)]
            if character == ".":
                flipped = ALPHABET[bit]
            refused(vault, sealed[:position] + flipped + sealed[position + 1 :])


def test_a_value_cut_short_or_lengthened_does_not_open(vault: Vault) -> None:
    sealed = vault.seal(DOCUMENT, TEXT)
    for length in range(len(sealed)):
        refused(vault, sealed[:length])
    for added in ("A", "=", "\n", " ", ".", "!", ".A"):
        refused(vault, sealed + added)
        refused(vault, added + sealed)
        refused(vault, sealed.replace(".", "." + added))


@pytest.mark.parametrize("garbage", ["", "....", "a..b.c.d", "é" * 50, "\0", "{}", "x" * 300_000, TEXT])
def test_garbage_does_not_open(vault: Vault, garbage: str) -> None:
    refused(vault, garbage)


def test_bytes_moved_between_ciphertext_and_tag_do_not_open(vault: Vault) -> None:
    header, _, iv, ciphertext, tag = vault.seal(DOCUMENT, TEXT + "x" * 11).split(".")
    joined = base64.urlsafe_b64decode(pad(ciphertext)) + base64.urlsafe_b64decode(pad(tag))
    for size in (4, 12, 15, 17, 20):
        parts = [
            base64.urlsafe_b64encode(each).rstrip(b"=").decode() for each in (joined[:-size], joined[-size:])
        ]
        refused(vault, ".".join((header, "", iv, *parts)))


def pad(part: str) -> str:
    return part + "=" * (-len(part) % 4)


def test_a_value_of_another_key_with_the_same_kid_does_not_open(
    vault: Vault, path: Path, own_path: Path
) -> None:
    kid = KeyRing.load(path).newest.kid
    KeyRing.create(own_path)
    document = json.loads(own_path.read_text())
    document["keys"][0]["kid"] = kid
    own_path.write_text(json.dumps(document))
    refused(vault, Vault(KeyRing.load(own_path)).seal(DOCUMENT, TEXT))


def test_a_value_whose_key_is_gone_does_not_open(vault: Vault, own_path: Path) -> None:
    assert "no key" in refused(vault, Vault(KeyRing.create(own_path)).seal(DOCUMENT, TEXT))


@pytest.mark.parametrize(
    ("options", "content"),
    [
        ({"encryption": "A128CBC-HS256"}, {"document": DOCUMENT, "text": TEXT}),
        ({"algorithm": "A256KW"}, {"document": DOCUMENT, "text": TEXT}),
        ({"zip": "DEF"}, {"document": DOCUMENT, "text": TEXT}),
        ({"cty": "JWT"}, {"document": DOCUMENT, "text": TEXT}),
        ({"kid": None}, {"document": DOCUMENT, "text": TEXT}),
        ({"kid": "../../etc/passwd"}, {"document": DOCUMENT, "text": TEXT}),
        ({}, {"text": TEXT}),
        ({}, {"document": DOCUMENT}),
        ({}, {"document": DOCUMENT, "text": 7}),
        ({}, {"document": None, "text": TEXT}),
        ({}, [DOCUMENT, TEXT]),
        ({}, DOCUMENT),
    ],
)
def test_a_value_in_another_format_does_not_open_with_the_right_key(
    vault: Vault, path: Path, options: dict[str, str], content: object
) -> None:
    key = KeyRing.load(path).newest
    form = {"algorithm": "dir", "encryption": "A256GCM", "kid": key.kid, **options}
    assert vault.open(DOCUMENT, made(key.secret, {"document": DOCUMENT, "text": TEXT}, kid=key.kid)) == TEXT
    refused(vault, made(key.secret, content, **form))


def made(secret: bytes, content: object, **form: str) -> str:
    form = {"algorithm": "dir", "encryption": "A256GCM", **form}
    sealed: bytes = jwe.encrypt(json.dumps(content).encode(), secret, **form)
    return sealed.decode()


@pytest.mark.parametrize(
    "header",
    [
        '{"alg":"none","enc":"A256GCM","kid":"KID"}',
        '{"alg":"dir","enc":"A256GCM","kid":"KID","zip":"DEF"}',
        '{"alg":"dir","enc":"A256GCM","kid":"KID","crit":["x"]}',
        '{"alg":"dir","enc":"A256GCM","kid":["KID"]}',
        '{"alg":["dir"],"enc":"A256GCM","kid":"KID"}',
        '["dir","A256GCM","KID"]',
        '"dir"',
        "{",
        "[" * 100_000,
        "\xff",
    ],
)
def test_the_header_is_checked_before_anything_is_decrypted(
    vault: Vault, path: Path, header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwe, "decrypt", lambda *_: pytest.fail("decrypted"))
    encoded = base64.urlsafe_b64encode(header.replace("KID", KeyRing.load(path).newest.kid).encode("latin-1"))
    _, *rest = vault.seal(DOCUMENT, TEXT).split(".")
    refused(vault, ".".join((encoded.rstrip(b"=").decode(), *rest)))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{}", '{"access_token": 1, "expires_at": 1, "token_type": "Bearer", "scope": []}'],
)
def test_a_text_that_is_no_token_set_is_refused(vault: Vault, text: str) -> None:
    with pytest.raises(VaultError, match="not a token set"):
        vault.open_tokens(DOCUMENT, vault.seal(DOCUMENT, text))


def test_a_text_is_sealed_only_up_to_the_size_that_can_be_opened(vault: Vault) -> None:
    largest = (MAX_SEALED_BYTES * 3) // 4 - 200
    assert vault.open(DOCUMENT, vault.seal(DOCUMENT, "x" * largest)) == "x" * largest
    for size in (largest + 250, MAX_SEALED_BYTES, 10 * MAX_SEALED_BYTES):
        with pytest.raises(VaultError, match="too large"):
            vault.seal(DOCUMENT, "x" * size)


# --- rotation


def test_after_a_rotation_old_values_open_and_new_ones_use_the_new_key(own_path: Path) -> None:
    before = Vault(KeyRing.create(own_path))
    old = before.seal(DOCUMENT, TEXT)
    kid = KeyRing.rotate(own_path)
    after = Vault(KeyRing.load(own_path))
    assert after.open(DOCUMENT, old) == TEXT
    assert header_of(after.seal(DOCUMENT, TEXT))["kid"] == kid


def test_a_running_process_opens_a_value_of_a_new_key_at_once(own_path: Path) -> None:
    running = Vault(KeyRing.create(own_path))
    KeyRing.rotate(own_path)
    assert running.open(DOCUMENT, Vault(KeyRing.load(own_path)).seal(DOCUMENT, TEXT)) == TEXT


def test_a_running_process_seals_with_the_new_key_after_a_reload(own_path: Path) -> None:
    running = Vault(KeyRing.create(own_path))
    old = header_of(running.seal(DOCUMENT, TEXT))["kid"]
    new = KeyRing.rotate(own_path)
    assert header_of(running.seal(DOCUMENT, TEXT))["kid"] == old
    running.reload()
    assert header_of(running.seal(DOCUMENT, TEXT))["kid"] == new


def test_an_invalid_key_ring_is_logged_once_and_the_loaded_keys_stay_in_use(own_path: Path) -> None:
    running = Vault(KeyRing.create(own_path))
    sealed = running.seal(DOCUMENT, TEXT)
    own_path.chmod(0o644)
    own_path.write_text("{")
    with structlog.testing.capture_logs() as logs:
        running.reload()
        assert running.open(DOCUMENT, sealed) == TEXT
        running.reload()
        assert running.open(DOCUMENT, running.seal(DOCUMENT, TEXT)) == TEXT
    assert [line["event"] for line in logs] == ["key_ring_not_reloaded"]
    assert "chmod 600" in logs[0]["detail"]


# --- the stored form of a provider's session id


def test_the_hash_of_a_session_id_depends_on_key_tenant_and_issuer(tmp_path: Path) -> None:
    path = tmp_path / "sids.json"
    vault = Vault(KeyRing.create(path))
    first = vault.sid_hash("acme", "https://login.example", "s-1")
    assert first == vault.sid_hash("acme", "https://login.example", "s-1")
    others = {
        vault.sid_hash("globex", "https://login.example", "s-1"),
        vault.sid_hash("acme", "https://login.example/", "s-1"),
        vault.sid_hash("acme", "https://login.example", "s-2"),
    }
    assert len(others | {first}) == 4
    KeyRing.rotate(path)
    vault.reload()
    second = vault.sid_hash("acme", "https://login.example", "s-1")
    assert vault.stored_sids("acme", "https://login.example", "s-1") == [second, first, "s-1"]


@pytest.mark.parametrize("sid", ["s-1", 'a "quoted" \\ sid', "ä\U0001f600", "\x00\n"])
def test_the_hash_of_a_session_id_is_that_of_earlier_versions(tmp_path: Path, sid: str) -> None:
    ring = KeyRing.create(tmp_path / "sids.json")
    message = json.dumps(["acme", "https://login.example", sid]).encode()
    expected = hmac.digest(ring.newest.derive("tenant-portal sid"), message, "sha256").hex()
    assert Vault(ring).sid_hash("acme", "https://login.example", sid) == f"hmac-sha256:{expected}"


def test_a_hash_sent_as_a_session_id_is_hashed_again(tmp_path: Path) -> None:
    vault = Vault(KeyRing.create(tmp_path / "sids.json"))
    stored = vault.sid_hash("acme", "https://login.example", "s-1")
    assert stored not in vault.stored_sids("acme", "https://login.example", stored)
