"""The path of a request as logs may have it."""

from __future__ import annotations

import pytest

from portal.web.logged_path import logged_path

TOKEN = "Sv-qGm2v0oWQ3tJH7fYkqk1w9yM8b6xUuA5cXr4LzE0"


@pytest.mark.parametrize(
    "path",
    [
        "/setup/{}",
        "/setup/{}/",
        "/setup/{}.",
        "/setup/{}%20",
        "//setup/{}",
        "/Setup/{}",
        "/%73etup/{}",
        "/setup%2F{}",
        "https://portal.example/setup/{}",
        "setup/{}",
        "/setup/x/{}",
    ],
)
def test_A2_the_token_of_a_setup_link_is_not_logged(path: str) -> None:
    assert logged_path(path.format(TOKEN)) == "/setup/…"


@pytest.mark.parametrize(
    "path",
    [
        "/setup%252f{}",
        "/%2573etup/{}",
        "/t/setup/{}",
        "/setup\\{}",
        "/setup;{}",
        "/setup{}",
        "/setup%5c{}",
        "/setup:{}",
        "/admin/setup/{}",
        "/setup%C2%A0/{}",
        "/s%20etup/{}",
        "/setup%20/{}",
        "/{}",
        "/t/acme/{}",
        "/setup%25252525252525252f{}",
        "/x%252525252525252525/{}",
    ],
)
def test_A2_the_token_is_not_logged_however_its_link_was_copied(path: str) -> None:
    for token in (TOKEN, TOKEN.replace("-", "%2D"), TOKEN.replace("S", "%2553")):
        logged = logged_path(path.format(token))
        assert "…" in logged
        assert "Gm2v0oWQ3tJH7fYkqk1w9yM8b6xUuA5cXr4LzE0" not in logged


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/account",
        "/setup",
        "/t/acme/api/setup/guide",
        "/t/acme/",
        "/admin/t/acme/setups/",
        "/%zz",
        f"/t/acme/api/{TOKEN}",
        f"/t/{'a-1' * 21}/callback",
    ],
)
def test_other_paths_are_logged_as_they_are(path: str) -> None:
    assert logged_path(path) == path
