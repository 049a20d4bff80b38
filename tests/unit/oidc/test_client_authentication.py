from __future__ import annotations

import base64
from urllib.parse import unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.errors import TokenRequestRejected
from portal.oidc.client_authentication import credentials
from portal.oidc.provider import ClientAuth
from portal.oidc.secret import Secret
from tests.unit.oidc.signing import CLIENT_ID, CLIENT_SECRET, registration

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def test_basic_form_encodes_id_and_secret_before_base64() -> None:
    proof = credentials(registration(client_id="a:b c", client_secret=Secret("p%:+ &ü")))
    name, value = proof.headers[0]
    assert name == "Authorization"
    assert base64.b64decode(value.removeprefix("Basic ")) == b"a%3Ab+c:p%25%3A%2B+%26%C3%BC"
    assert proof.fields == ()


@given(TEXT, TEXT)
def test_any_id_and_secret_come_back_from_a_basic_header(client_id: str, secret: str) -> None:
    proof = credentials(registration(client_id=client_id, client_secret=Secret(secret)))
    pair = base64.b64decode(proof.headers[0][1].removeprefix("Basic ")).decode()
    assert pair.count(":") == 1
    assert [unquote_plus(part) for part in pair.split(":")] == [client_id, secret]


def test_post_puts_id_and_secret_into_the_form() -> None:
    proof = credentials(registration(client_auth=ClientAuth.CLIENT_SECRET_POST))
    assert (proof.headers, dict(proof.fields)) == (
        (),
        {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET},
    )


def test_a_public_client_names_itself_only() -> None:
    proof = credentials(registration(client_auth=ClientAuth.NONE))
    assert (proof.headers, dict(proof.fields)) == ((), {"client_id": CLIENT_ID})


@pytest.mark.parametrize("method", [ClientAuth.CLIENT_SECRET_BASIC, ClientAuth.CLIENT_SECRET_POST])
def test_a_missing_secret_is_an_error_before_anything_is_sent(method: ClientAuth) -> None:
    with pytest.raises(TokenRequestRejected) as rejection:
        credentials(registration(client_auth=method, client_secret=None))
    assert rejection.value.error == "invalid_client"


@pytest.mark.parametrize("method", ClientAuth)
def test_credentials_do_not_print_the_secret(method: ClientAuth) -> None:
    assert CLIENT_SECRET not in repr(credentials(registration(client_auth=method)))
