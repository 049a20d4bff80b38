"""Which logins a filter accepts."""

from __future__ import annotations

import pytest

from portal.admin.login_filter import ANY, LoginFilter
from portal.stores.model import Login
from portal.stores.tenant_logins import TenantLogin

FOUND = TenantLogin(
    Login(
        session="s1",
        tenant="acme",
        provider="default",
        registration="r",
        issuer="https://login.acme.example",
        subject="acme-001",
        sid=None,
        claims={"email": "alice@acme.example", "mail": "", "groups": ["staff"]},
        tokens="t",
        access_expires_at=1.0,
        signed_in_at=1.0,
        expires_at=1.0,
        version=1,
    ),
    last_seen_at=1.0,
    device="Firefox on Linux",
)


@pytest.mark.parametrize(
    "one",
    [
        ANY,
        LoginFilter(user="acme-001"),
        LoginFilter(user="alice@acme.example"),
        LoginFilter(session="s1", issuer="https://login.acme.example"),
        LoginFilter(device="FIREFOX"),
    ],
)
def test_what_a_filter_accepts(one: LoginFilter) -> None:
    assert one.accepts(FOUND, email_claim="email")


@pytest.mark.parametrize(
    "one",
    [
        LoginFilter(user="acme-00"),
        LoginFilter(user="ACME-001"),
        LoginFilter(user="Alice@acme.example"),
        LoginFilter(user="staff"),
        LoginFilter(session="s"),
        LoginFilter(issuer="https://login.acme.example/"),
        LoginFilter(device="Chrome"),
        LoginFilter(user="acme-001", device="Chrome"),
    ],
)
def test_values_are_compared_exactly_but_a_part_of_the_browser(one: LoginFilter) -> None:
    assert not one.accepts(FOUND, email_claim="email")


@pytest.mark.parametrize("claim", [None, "mail", "groups", "missing"])
def test_an_address_is_that_of_the_tenants_claim_only(claim: str | None) -> None:
    assert not LoginFilter(user="alice@acme.example").accepts(FOUND, email_claim=claim)
    assert not LoginFilter(user="staff").accepts(FOUND, email_claim=claim)
