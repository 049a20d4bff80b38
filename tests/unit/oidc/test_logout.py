from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

from portal.oidc.logout import logout_url
from portal.oidc.provider import Provider, ProviderMetadata
from portal.secret import Secret
from tests.unit.oidc.signing import CLIENT_ID, ISSUER, registration

RETURN = "https://portal.example/signed-out?a=1&b=ä"


def url(provider: Provider, end_session: str | None, id_token: Secret | None = None) -> str | None:
    where: dict[str, Any] = {"end_session_endpoint": end_session}
    metadata = ProviderMetadata(
        ISSUER, "https://a.example", "https://t.example", "https://j.example", **where
    )
    return logout_url(provider, metadata, id_token=id_token, post_logout_redirect_uri=RETURN, state="st&te")


def test_the_provider_is_told_who_leaves_and_where_to_come_back() -> None:
    made = url(registration(), "https://login.acme.example/logout", Secret("id.token.x"))
    assert made is not None
    assert made.startswith("https://login.acme.example/logout?")
    assert parse_qs(urlsplit(made).query) == {
        "id_token_hint": ["id.token.x"],
        "client_id": [CLIENT_ID],
        "post_logout_redirect_uri": [RETURN],
        "state": ["st&te"],
    }


def test_the_id_token_is_left_out_when_there_is_none_or_the_provider_must_not_get_it() -> None:
    for made in (
        url(registration(), "https://login.acme.example/logout"),
        url(
            registration(logout_id_token_hint=False),
            "https://login.acme.example/logout",
            Secret("id.token.x"),
        ),
    ):
        assert made is not None
        assert "id_token_hint" not in made
        assert f"client_id={CLIENT_ID}" in made


def test_the_query_of_the_endpoint_stays() -> None:
    made = url(registration(), "https://login.acme.example/logout?p=B2C_1")
    assert made is not None
    assert parse_qs(urlsplit(made).query)["p"] == ["B2C_1"]


def test_a_provider_without_an_endpoint_is_reached_by_its_template() -> None:
    template = "https://login.acme.example/v2/logout?client_id={client_id}&returnTo={return_to}"
    made = url(registration(client_id="a&{return_to}", logout_template=template), None, Secret("id.token.x"))
    assert made is not None
    assert parse_qs(urlsplit(made).query) == {"client_id": ["a&{return_to}"], "returnTo": [RETURN]}


def test_the_endpoint_wins_over_the_template() -> None:
    made = url(registration(logout_template="https://other.example/"), "https://login.acme.example/logout")
    assert made is not None
    assert made.startswith("https://login.acme.example/logout?")


def test_an_endpoint_that_is_not_the_standards_is_left_alone() -> None:
    own = registration(logout_template="https://other.example/?to={return_to}", logout_template_wins=True)
    made = url(own, "https://login.acme.example/logout", Secret("id.token.x"))
    assert made is not None
    assert made.startswith("https://other.example/?to=https%3A")
    assert "id.token.x" not in made
    assert url(registration(logout_template_wins=True), "https://login.acme.example/logout") is None


def test_a_provider_with_neither_offers_no_logout() -> None:
    assert url(registration(), None) is None
