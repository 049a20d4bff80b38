from __future__ import annotations

import pytest

from portal.oidc.errors import LoginTooLarge
from portal.secret import Secret
from portal.sessions.login_size import MAX_LOGIN_BYTES, check_login_size
from tests.kit.samples import sample_tokens

FEW = {"sub": "user-1"}


def test_a_login_of_a_user_in_hundreds_of_groups_is_stored() -> None:
    """300 groups with GUID names take 12 KB in the claims and 16 KB in each JWT."""
    groups = [f"{number:08x}-0000-0000-0000-000000000000" for number in range(300)]
    tokens = sample_tokens(access_token=Secret("a" * 16_500), id_token=Secret("i" * 16_500))
    check_login_size({"sub": "user-1", "groups": groups}, tokens)


@pytest.mark.parametrize("name", ["access_token", "refresh_token", "id_token"])
def test_each_token_counts(name: str) -> None:
    tokens = sample_tokens(**{name: Secret("x" * MAX_LOGIN_BYTES)})
    with pytest.raises(
        LoginTooLarge, match=f"{name.replace('_', ' ').replace('id', 'ID')} {MAX_LOGIN_BYTES}"
    ):
        check_login_size(FEW, tokens)


def test_claims_count() -> None:
    with pytest.raises(LoginTooLarge, match="claims 9"):
        check_login_size({"groups": "g" * MAX_LOGIN_BYTES}, sample_tokens())


def test_the_limit_is_exact() -> None:
    claims = 2  # `{}`
    largest = MAX_LOGIN_BYTES - claims
    tokens = sample_tokens(access_token=Secret("a" * largest), refresh_token=None, id_token=None)
    check_login_size({}, tokens)
    tokens = sample_tokens(access_token=Secret("a" * (largest + 1)), refresh_token=None, id_token=None)
    with pytest.raises(LoginTooLarge):
        check_login_size({}, tokens)


def test_the_error_contains_no_claim_value() -> None:
    with pytest.raises(LoginTooLarge) as error:
        check_login_size({"secret": "sss" * MAX_LOGIN_BYTES}, sample_tokens(access_token=Secret("access")))
    assert "sss" not in error.value.detail
