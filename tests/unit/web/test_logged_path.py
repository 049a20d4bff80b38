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
    ["/", "/account", "/setup", "/t/acme/api/setup/guide", "/t/acme/", "/admin/t/acme/setups/", "/%zz"],
)
def test_other_paths_are_logged_as_they_are(path: str) -> None:
    assert logged_path(path) == path
