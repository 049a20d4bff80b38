from __future__ import annotations

import time

import pytest

from portal.oidc.errors import ProviderUnavailable, ReauthenticationMissing
from tests.unit.oidc.signing import NOW


def test_an_unavailable_provider_is_retried_in_the_given_number_of_seconds() -> None:
    assert ProviderUnavailable("down").retry_after == 10
    assert ProviderUnavailable("down", retry_after=3).retry_after == 3


def test_the_page_states_in_utc_when_the_user_signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        error = ReauthenticationMissing("auth_time_too_old", "", signed_in_at=NOW)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert "says that you signed in there on 15 January 2027 at 08:00 UTC." in error.advice
    assert error.advice.endswith(ReauthenticationMissing.advice)


def test_the_page_says_that_the_provider_does_not_state_when_the_user_signed_in() -> None:
    error = ReauthenticationMissing("auth_time", "")
    assert "and the sign-in service does not say when you signed in there. " in error.advice
