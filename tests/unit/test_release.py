"""Releases: complete, and listed in the changelog."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from scripts import release
from scripts.release import Mistake

CHANGELOG = """\
# Changelog

## Unreleased

## 0.2.0 (2026-11-30)

### Added

- Something.

## 0.1.0 (2026-11-01)
"""


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (release.NEEDED[1:], "lacks portal/py.typed"),
        ((*release.NEEDED, "tests/conftest.py", "x-1.dist-info/METADATA"), "holds tests$"),
    ],
)
def test_a_wheel_that_lacks_a_file_or_holds_others_is_a_mistake(
    tmp_path: Path, names: tuple[str, ...], problem: str
) -> None:
    wheel = tmp_path / "x.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    with pytest.raises(Mistake, match=problem):
        release.check_contents(wheel)


def test_a_tag_with_its_section_may_be_released() -> None:
    release.check_tag("v0.2.0", "0.2.0", CHANGELOG)


@pytest.mark.parametrize(
    ("tag", "version", "changelog", "problem"),
    [
        ("v0.2.0", "0.2.1.dev0+d20261130", CHANGELOG, "not committed"),
        ("v0.3.0", "0.3.0", CHANGELOG, "no section `## 0.3.0"),
        ("v0.1.0", "0.1.0", CHANGELOG, "is empty"),
        ("v0.2.0", "0.2.0", CHANGELOG.replace(" (2026-11-30)", ""), "no section `## 0.2.0"),
        ("v0.2.0", "0.2.0", CHANGELOG.replace("Unreleased\n", "Unreleased\n\n- New.\n"), "unreleased lines"),
    ],
)
def test_an_invalid_tag_is_a_mistake(tag: str, version: str, changelog: str, problem: str) -> None:
    with pytest.raises(Mistake, match=problem):
        release.check_tag(tag, version, changelog)


def test_the_changelog_has_sections_of_versions() -> None:
    titles = list(release.sections_of((release.ROOT / "CHANGELOG.md").read_text()))
    assert titles
    assert all(title == "Unreleased" or title[0].isdigit() for title in titles)
