from __future__ import annotations

import pytest

from portal.oidc.provider_errors import LONGEST_DESCRIPTION, denial, error_code

BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        ("access_denied", 403, "Access was denied"),
        ("login_required", 401, "sign in again"),
        ("interaction_required", 401, "needs your input"),
        ("account_selection_required", 401, "choose an account"),
        ("consent_required", 403, "consent"),
        ("temporarily_unavailable", 503, "busy"),
        ("server_error", 502, "internal error"),
        ("invalid_scope", 502, "not set up"),
        ("unauthorized_client", 502, "not set up"),
        ("invalid_request", 502, "not set up"),
        ("unsupported_response_type", 502, "not set up"),
        ("unmet_authentication_requirements", 403, "stronger"),
        ("something_new", 400, "was denied"),
    ],
)
def test_each_error_has_a_page_that_says_what_to_do(error: str, status: int, words: str) -> None:
    page = denial(error, None)
    assert (page.error, page.status, page.explanation) == (error, status, None)
    assert words in page.title
    assert len(page.advice) > 40


@pytest.mark.parametrize(
    ("error", "description", "cancelled"),
    [
        ("access_denied", None, True),
        ("access_denied", " ", True),
        ("access_denied", "The user denied access.", True),
        ("access_denied", "The User said no", True),
        ("access_denied", "AADSTS65004: User declined to consent to access the app.", True),
        ("access_denied", "User did not authorize the request", True),
        ("access_denied", "The resource owner or authorization server denied the request.", True),
        ("access_denied", "User is not assigned to the client application.", False),
        ("access_denied", "The user is denied access by a policy.", False),
        ("access_denied", "Policy evaluation failed for this request", False),
        ("user_cancelled_login", "The user closed the window", True),
        ("user_cancelled_authorize", None, True),
        ("server_error", "The user cancelled", False),
        ("login_required", None, False),
    ],
)
def test_a_cancelled_sign_in_differs_from_a_refused_one(
    error: str, description: str | None, cancelled: bool
) -> None:
    assert denial(error, description).cancelled is cancelled


@pytest.mark.parametrize("value", ["", "x" * 129, 'a"b', "a\\b", "a\nb", "ä", None, 5, ["a"]])
def test_an_invalid_error_code_is_never_logged(value: object) -> None:
    assert error_code(value) == "unknown_error"


@pytest.mark.parametrize("value", ["login required", "urn:acme:error:locked", "https://a.example/e#1", "<b>"])
def test_an_error_code_may_have_every_character_of_RFC_6749(value: str) -> None:
    assert error_code(value) == value
    assert denial(value, None).error == value


def test_an_error_code_that_may_be_a_secret_is_not_logged() -> None:
    for secret in ("c0de c0de", "s" * 43):
        made = denial(secret, None, sent_values=("c0de c0de",))
        assert made.error == "unknown_error"
        assert secret not in f"{made!r}{made.detail}"


def test_a_description_is_truncated() -> None:
    shown = denial("access_denied", "x" * 1_000_000).explanation
    assert shown is not None
    assert len(shown) == LONGEST_DESCRIPTION
    assert shown.endswith("…")


def test_the_description_is_logged_truncated_and_on_one_line() -> None:
    description = "AADSTS50105: the user has no role.\r\nTrace ID: 4d2a0c3e-9c3f-4c6c-8f0c-0a4b7d1e2f30"
    detail = denial("access_denied", description).detail
    assert detail == f"the provider responded with error=access_denied: {' '.join(description.split())}"
    assert 0 < len(denial("access_denied", "word " * 10_000).detail) - LONGEST_DESCRIPTION < 50
    for nothing in (None, "", "\n\u200b"):
        assert denial("access_denied", nothing).detail == "the provider responded with error=access_denied"


def test_possible_secrets_are_not_logged() -> None:
    state, token = "s" * 43, "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
    description = f"code c/1 2 or c%2F1+2 or c%2F1%202, {state}, {token} refused"
    made = denial("access_denied", description, sent_values=("c/1 2", ""))
    assert made.detail == "the provider responded with error=access_denied: code … or … or …, …, … refused"
    assert made.explanation is not None
    assert state in made.explanation


def test_a_description_without_visible_characters_is_none() -> None:
    assert denial("access_denied", f" {BIDI}\x00 ").explanation is None
