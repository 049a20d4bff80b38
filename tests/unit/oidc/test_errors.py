from __future__ import annotations

import time

import pytest

from portal.oidc.errors import ProviderUnavailable, ReauthenticationMissing
from portal.web.languages.languages import load_languages
from portal.web.markup import Markup
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
    assert "says that you signed in there on 15 January 2027, 08:00 UTC." in error.advice
    assert error.advice.endswith(ReauthenticationMissing.advice)


def test_the_page_says_that_the_provider_does_not_state_when_the_user_signed_in() -> None:
    error = ReauthenticationMissing("auth_time", "")
    assert "and the sign-in service does not say when you signed in there. " in error.advice


@pytest.mark.parametrize("signed_in_at", [None, NOW])
def test_no_part_of_the_page_about_the_reauthentication_is_english_in_german(
    signed_in_at: float | None,
) -> None:
    german = load_languages().find(["de"])
    assert german is not None
    advice = ReauthenticationMissing("auth_time", "", signed_in_at=signed_in_at).advice
    shown = german.text(advice)
    text = shown.decode() if isinstance(shown, Markup) else shown
    assert text.startswith("Das Portal hat eine neue Anmeldung verlangt, und der Anmeldedienst sagt")
    assert text.endswith(str(german.text(ReauthenticationMissing.advice)))
    assert ("15. Januar 2027" in text) == (signed_in_at is not None)
