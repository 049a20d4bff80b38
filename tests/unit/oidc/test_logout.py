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
    return logout_url(provider, metadata, id_token=id_token, post_logout_redirect_uri=RETURN, state="st&te /")


def test_the_logout_url_has_all_parameters() -> None:
    made = url(registration(), "https://login.acme.example/logout", Secret("id.token.x"))
    assert made is not None
    assert made.startswith("https://login.acme.example/logout?")
    assert parse_qs(urlsplit(made).query) == {
        "id_token_hint": ["id.token.x"],
        "client_id": [CLIENT_ID],
        "post_logout_redirect_uri": [RETURN],
        "state": ["st&te /"],
    }
    assert made.endswith("&state=st%26te%20%2F")  # a space as %20: not every provider reads "+" as one


def test_the_id_token_hint_is_omitted_without_an_id_token_or_if_disabled() -> None:
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


def test_the_query_of_the_endpoint_is_kept_and_its_fragment_is_not() -> None:
    made = url(registration(), "https://login.acme.example/logout?p=B2C_1#part")
    assert made is not None
    assert "#" not in made
    assert parse_qs(urlsplit(made).query)["p"] == ["B2C_1"]


def test_the_logout_template_is_used_without_an_endpoint() -> None:
    template = "https://login.acme.example/v2/logout?client_id={client_id}&returnTo={return_to}"
    made = url(registration(client_id="a/&{return_to}", logout_template=template), None, Secret("id.token.x"))
    assert made is not None
    assert parse_qs(urlsplit(made).query) == {"client_id": ["a/&{return_to}"], "returnTo": [RETURN]}
    assert "client_id=a%2F%26%7Breturn_to%7D&" in made
    assert made.endswith("&returnTo=https%3A%2F%2Fportal.example%2Fsigned-out%3Fa%3D1%26b%3D%C3%A4")


def test_the_endpoint_takes_precedence_over_the_template() -> None:
    made = url(registration(logout_template="https://other.example/"), "https://login.acme.example/logout")
    assert made is not None
    assert made.startswith("https://login.acme.example/logout?")


def test_a_non_standard_endpoint_can_be_ignored() -> None:
    own = registration(
        logout_template="https://other.example/?to={return_to}", ignores_end_session_endpoint=True
    )
    made = url(own, "https://login.acme.example/logout", Secret("id.token.x"))
    assert made is not None
    assert made.startswith("https://other.example/?to=https%3A")
    assert "id.token.x" not in made
    assert url(registration(ignores_end_session_endpoint=True), "https://login.acme.example/logout") is None


def test_there_is_no_logout_url_without_endpoint_and_template() -> None:
    assert url(registration(), None) is None
