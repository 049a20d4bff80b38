"""Cookies and bindings."""

from __future__ import annotations

import pytest

from portal.sessions.credentials import SessionCookie, digest, is_binding, new_binding


def test_a_new_cookie_is_parsed_back() -> None:
    made = SessionCookie.new()
    read = SessionCookie.parse(made.value)
    assert read == made
    assert read is not None
    assert read.matches(made.secret_hash)


def test_a_new_cookie_for_the_same_session_does_not_match_the_old_hash() -> None:
    old = SessionCookie.new()
    new = SessionCookie.new(old.session_id)
    assert new.session_id == old.session_id
    assert not new.matches(old.secret_hash)


@pytest.mark.parametrize(
    "value", [None, "", ".", "a.b", "x" * 8000, "é" * 22 + "." + "a" * 43, "a" * 22 + "." + "a" * 43 + "\n"]
)
def test_S2_a_malformed_cookie_is_parsed_as_none(value: str | None) -> None:
    assert SessionCookie.parse(value) is None


def test_S9_a_cookie_does_not_print_its_secret() -> None:
    cookie = SessionCookie.new()
    assert cookie.secret.reveal() not in repr(cookie)


def test_a_binding_has_256_bits_and_is_recognised() -> None:
    binding = new_binding()
    assert len(binding) == 43
    assert is_binding(binding)
    assert not is_binding(binding + "a")
    assert not is_binding(None)


def test_the_digest_is_sha_256() -> None:
    assert digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
