"""How people find a tenant: by exact name, by e-mail domain, by the beginning of a word."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from portal.tenancy.finding import LONGEST_ADDRESS, email_domain, named, with_domain, with_word
from portal.tenancy.index import Index
from portal.tenancy.model import Tenant
from tests.unit.tenancy.test_index import slugs, tenant

HIDDEN = replace(tenant("hidden", "Acme"), listed=False, email_domains=("hidden.example",))
INDEX = Index(
    [
        tenant("acme", "Acme", email_domains=("acme.example",)),
        tenant("acme-two", "ACME", shared_email_domains=("group.example",)),
        tenant("acme-eu", "Äcme Europe", shared_email_domains=("group.example", "acme.example")),
        tenant("group", "Zeta Group", email_domains=("group.example",)),
        HIDDEN,
    ]
)


def test_F3_a_domain_that_becomes_too_long_is_not_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoding a label takes time that grows with the square of its length."""
    longest = "é" * 50 + ".example"
    assert email_domain(f"a@{longest}").startswith("xn--")
    for name in ("\ufdfa" * 252, "é" * 64 + ".example", ".".join(["é" * 50] * 5)):
        assert len(name) <= LONGEST_ADDRESS
        with monkeypatch.context() as patched:
            patched.setattr("portal.tenancy.finding._ascii", _fail)
            assert email_domain(f"a@{name}") == ""


def _fail(name: str) -> str:
    raise AssertionError(f"{len(name)} characters were encoded")


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("ann@acme.example", "acme.example"),
        (" Ann@ACME.Example. ", "acme.example"),
        ("acme.example", "acme.example"),
        ("ann\N{FULLWIDTH COMMERCIAL AT}acme.example", "acme.example"),
        ("ann@ａｃｍｅ.example", "acme.example"),
        ("ann@acmé.example", "xn--acm-dma.example"),
        ("ann@bücher.example", "xn--bcher-kva.example"),
        ('"a@b"@acme.example', "acme.example"),
        ("Acme", ""),
        ("ann@localhost", ""),
        ("ann@", ""),
        ("", ""),
        ("@" * 254, ""),
        ("a@" + "é" * 70 + ".example", ""),
        ("a" * 250 + "@acme.example", ""),
    ],
)
def test_the_domain_of_what_was_typed(text: str, domain: str) -> None:
    assert email_domain(text) == domain


@pytest.mark.parametrize(
    ("domain", "found"),
    [
        ("acme.example", ["acme", "acme-eu"]),
        ("group.example", ["group", "acme-two", "acme-eu"]),
        ("hidden.example", ["hidden"]),
        ("sub.acme.example", []),
        ("", []),
    ],
)
def test_the_owner_of_a_domain_comes_before_those_that_share_it(domain: str, found: list[str]) -> None:
    assert slugs(with_domain(INDEX, domain)) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("acme", ["acme", "acme-two"]),
        ("  ＡＣＭＥ ", ["acme", "acme-two"]),
        ("zeta  group", ["group"]),
        ("Acme E", []),
        ("acm", []),
        ("acme-eu", []),
        ("zz", []),
        ("", []),
    ],
)
def test_only_a_whole_name_finds_listed_tenants(text: str, found: list[str]) -> None:
    assert slugs(named(INDEX, text)) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["acme", "acme-two", "acme-eu", "group"]),
        ("ac", ["acme", "acme-two", "acme-eu"]),
        ("gr", ["group"]),
        ("eu", ["acme-eu"]),
        ("roup", []),
        ("ACME EUR", ["acme-eu"]),
        ("hidden", []),
        ("zz", []),
    ],
)
def test_the_beginning_of_a_word_finds_listed_tenants(text: str, found: list[str]) -> None:
    assert slugs(asyncio.run(with_word(INDEX, text))) == found


def test_a_changed_tenant_is_listed_and_found_as_it_is_now() -> None:
    acme = INDEX.by_slug["acme"]
    hidden = INDEX.replacing({"acme": replace(acme, listed=False)})
    assert slugs(named(hidden, "acme")) == ["acme-two"]
    assert "acme" not in slugs(list(hidden.listed))
    assert slugs(list(hidden.replacing({"acme": acme}).listed)) == slugs(list(INDEX.listed))
    moved = INDEX.replacing({"acme": replace(acme, shared_email_domains=("group.example",))})
    assert slugs(with_domain(moved, "group.example")) == ["group", "acme", "acme-two", "acme-eu"]
    assert slugs(with_domain(moved.replacing({}, {"acme-eu"}), "acme.example")) == ["acme"]


def test_all_of_many_matches_are_found_once() -> None:
    many: list[Tenant] = [tenant(f"t{number}", f"Aa aardvark {number:04} Aa") for number in range(500)]
    assert len(asyncio.run(with_word(Index(many), "aa"))) == 500
