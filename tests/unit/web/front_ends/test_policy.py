"""The Content-Security-Policy of a front end."""

from __future__ import annotations

from portal.config.front_ends import FrontEnd
from portal.web.front_ends.policy import content_policy


def policy(front_end: FrontEnd) -> dict[str, str]:
    text = content_policy(front_end, form_targets="https:")
    return dict(directive.split(" ", 1) for directive in text.split("; "))


DEFAULT = {
    "default-src": "'self'",
    "form-action": "'self' https:",
    "frame-ancestors": "'none'",
    "object-src": "'none'",
    "base-uri": "'none'",
}


def test_the_default_allows_the_own_origin_only() -> None:
    assert policy(FrontEnd("/desk")) == DEFAULT


def test_a_directive_adds_sources_to_those_of_the_default() -> None:
    csp = {
        "default-src": ("https://cdn.example.com",),
        "img-src": ("data:",),
        "script-src": ("'wasm-unsafe-eval'",),
        "worker-src": ("blob:",),
        "form-action": ("https://pay.example.com", "https:"),
        "frame-ancestors": ("https://shop.example.com",),
    }
    assert policy(FrontEnd("/desk", csp=csp)) == {
        **DEFAULT,
        "default-src": "'self' https://cdn.example.com",
        "script-src": "'self' https://cdn.example.com 'wasm-unsafe-eval'",
        "img-src": "'self' https://cdn.example.com data:",
        "worker-src": "'self' https://cdn.example.com 'wasm-unsafe-eval' blob:",
        "form-action": "'self' https: https://pay.example.com",
        "frame-ancestors": "https://shop.example.com",
    }


def test_a_development_server_may_write_scripts_and_styles_into_pages() -> None:
    made = policy(FrontEnd("/desk", url="http://localhost:5173", csp={"script-src": ("blob:",)}))
    assert made == {
        **DEFAULT,
        "script-src": "'self' blob: 'unsafe-inline' 'unsafe-eval'",
        "style-src": "'self' 'unsafe-inline'",
    }
