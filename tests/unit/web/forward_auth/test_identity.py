"""What an application learns of a user, as header fields (THREATS P2)."""

from __future__ import annotations

import base64
import json
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.tenancy.model import ForwardAuth
from portal.web.forward_auth.errors import IdentityTooLong
from portal.web.forward_auth.identity import LONGEST_FIELD, encoded_claims, encoded_text, identity_headers
from tests.kit.samples import sample_login, sample_tenant

TEXTS = st.text(st.characters(), max_size=40)


@given(TEXTS)
def test_P2_an_encoded_text_is_visible_ascii_and_can_be_decoded(text: str) -> None:
    encoded = encoded_text(text)
    assert all("!" <= one <= "~" for one in encoded)
    assert unquote(encoded, errors="surrogatepass") == text


@pytest.mark.parametrize(
    "text", ["auth0|507f1f77", "ada@acme.example", "CN=Ada,O=Acme", "https://a.example/x?y#z"]
)
def test_usual_subjects_are_unchanged(text: str) -> None:
    assert encoded_text(text) == text


@given(
    st.dictionaries(
        TEXTS, st.recursive(st.none() | st.booleans() | TEXTS | st.integers(), st.lists), max_size=4
    )
)
def test_P2_claims_are_unpadded_base64url_of_json(claims: dict[str, object]) -> None:
    tenant = sample_tenant(forward_auth=ForwardAuth(tuple(claims)))
    encoded = encoded_claims(tenant, sample_login(claims={**claims, "\ue000 not chosen": 1}))
    assert all(one.isascii() and (one.isalnum() or one in "-_") for one in encoded)
    assert json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))) == claims


def test_P2_what_is_too_long_is_refused() -> None:
    tenant = sample_tenant(forward_auth=ForwardAuth(("name",)))
    assert len(identity_headers(tenant, sample_login(subject="s" * LONGEST_FIELD))) == 4
    for login in (sample_login(subject="s" * (LONGEST_FIELD + 1)), sample_login(claims={"name": "n" * 6000})):
        with pytest.raises(IdentityTooLong):
            identity_headers(tenant, login)
