"""`front_ends` of the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.config.front_ends import OWN_SEGMENTS, FrontEnd
from portal.config.settings import load_settings
from portal.errors import ConfigurationError
from portal.routes import routes

EVERYTHING = """\
front_ends:
  desk:
    path: /desk
    directory: ./dist
    home: /desk/{tenant}/
    csp: {img-src: ["data:", "https://*.example.com"], script-src: ["'wasm-unsafe-eval'"]}
    source_maps: true
  tools: {path: /apps/tools, url: "http://localhost:5173/"}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "portal.yaml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(written(folder, text), {})
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def test_front_ends_of_a_file(tmp_path: Path) -> None:
    assert load_settings(written(tmp_path, EVERYTHING), {}).front_ends == {
        "desk": FrontEnd(
            path="/desk",
            directory=tmp_path / "dist",
            home="/desk/{tenant}/",
            csp={"img-src": ("data:", "https://*.example.com"), "script-src": ("'wasm-unsafe-eval'",)},
            source_maps=True,
        ),
        "tools": FrontEnd(path="/apps/tools", url="http://localhost:5173"),
    }


def test_front_ends_of_the_environment_are_relative_to_the_working_directory(tmp_path: Path) -> None:
    environ = {"PORTAL_FRONT_ENDS": "{desk: {path: /desk, directory: dist}}"}
    made = load_settings(written(tmp_path, EVERYTHING), environ).front_ends
    assert made == {"desk": FrontEnd(path="/desk", directory=Path("dist"))}


def one(keys: str) -> str:
    return f"front_ends: {{desk: {{{keys}}}}}\n"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("path: /desk", "front_ends.<name> needs either directory or url"),
        (
            "path: /desk, directory: a, url: 'http://localhost:1'",
            "front_ends.<name> needs either directory or url",
        ),
        ("path: /session, directory: a", "begins like the portal's own addresses; choose another word"),
        ("path: /t/acme/desk, directory: a", "begins like the portal's own addresses; choose another word"),
        ("path: /, directory: a", "must be a path such as /desk"),
        ("path: /desk/, directory: a", "must be a path such as /desk"),
        ("path: /../x, directory: a", "must be a path such as /desk"),
        ("path: desk, directory: a", "must be a path such as /desk"),
        ("path: /desk, directory: a, home: /other/", "must begin with the path of its front end"),
        ("path: /desk, directory: a, home: /desktop/", "must begin with the path of its front end"),
        ("path: /desk, directory: a, home: '/desk/{tenant}{tenant}'", "with {tenant} at most once"),
        ("path: /desk, directory: a, home: '/desk/x{tenant}'", "with {tenant} at most once"),
        ("path: /desk, directory: a, home: '/desk/../t/'", "with {tenant} at most once"),
        ("path: /desk, url: 'http://localhost:1', source_maps: true", "has no effect with url"),
        ("path: /desk, url: 'https://localhost:1'", "the http origin of a server on this machine"),
        ("path: /desk, url: 'http://localhost:1/x'", "the http origin of a server on this machine"),
        ("path: /desk, url: 'http://localhost:99999'", "the port must be between 1 and 65535"),
        ("path: /desk, url: 'http://localhost:0'", "the port must be between 1 and 65535"),
        ("path: /desk, url: 'http://u:p@localhost:1'", "the http origin of a server on this machine"),
        ("path: /desk, directory: a, csp: {image-src: [x]}", 'did you mean "img-src"?'),
        ("path: /desk, directory: a, csp: {object-src: [\"'self'\"]}", "must be one of: default-src"),
        ("path: /desk, directory: a, csp: {img-src: [self]}", "must have single quotes inside"),
        (
            "path: /desk, directory: a, csp: {img-src: [\"'none'\"]}",
            "one source of a Content-Security-Policy",
        ),
        ("path: /desk, directory: a, csp: {img-src: ['a b']}", "one source of a Content-Security-Policy"),
        (
            "path: /desk, directory: a, csp: {img-src: ['data:; x']}",
            "one source of a Content-Security-Policy",
        ),
        ("path: /desk, directory: a, csp: {img-src: [\"'nonce-a'\"]}", "one source of a Content-Sec"),
        ("path: /desk, directory: a, csp: {frame-ancestors: ['*']}", "has frame-ancestors that are neither"),
        ("path: /desk, directory: a, csp: {frame-ancestors: ['https:']}", "has frame-ancestors that are"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, keys: str, message: str) -> None:
    found = problems(tmp_path, one(keys))
    assert len(found) == 1
    assert found[0].startswith("portal.yaml:1:")
    assert message in found[0]


def test_front_ends_that_overlap_are_refused(tmp_path: Path) -> None:
    text = "front_ends:\n  a: {path: /x, directory: a}\n  b: {path: /x/y, directory: b}\n"
    message = "front_ends.<name>.path is that of another front end, or below or above it"
    assert problems(tmp_path, text) == [f"portal.yaml:3:13: {message}"]
    assert problems(tmp_path, text.replace("/x/y", "/x")) == [f"portal.yaml:3:13: {message}"]


def test_only_one_front_end_has_a_home(tmp_path: Path) -> None:
    text = "front_ends:\n  a: {path: /a, directory: a, home: /a}\n  b: {path: /b, directory: b, home: /b}\n"
    assert problems(tmp_path, text) == [
        "portal.yaml:3:37: front_ends.<name>.home is set by another front end as well; only one can have it"
    ]


def test_no_front_end_can_take_an_address_of_the_portal() -> None:
    patterns = [rule.matcher.regex.pattern for rule in routes()]  # type: ignore[attr-defined]
    segments = {
        pattern.split("/")[1].replace("\\", "").removesuffix("$") for pattern in patterns if "/" in pattern
    }
    assert {*segments - {"", ".*"}, "static"} <= OWN_SEGMENTS
