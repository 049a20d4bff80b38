"""Releases are built from any copy of the sources, and a demo that does not serve is a mistake."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from scripts import release
from scripts.release import Mistake


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the distributions built from sources outside a checkout."""
    folder = tmp_path_factory.mktemp("release")
    sources, dist = folder / "sources", folder / "dist"
    sources.mkdir()
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(release.ROOT / name, sources)
    for name in ("portal", "static", "templates"):
        shutil.copytree(release.ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    release.build_wheel(release.build_sdist(sources, dist), dist)
    return dist


def test_sources_without_git_history_build_a_source_distribution_and_a_wheel(built: Path) -> None:
    assert sorted(path.name for path in built.iterdir()) == [
        "tenant_portal-0.0.0-py3-none-any.whl",
        "tenant_portal-0.0.0.tar.gz",
    ]


def test_a_wheel_holds_everything_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    release.check_contents(wheel)
    contents = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(release.ROOT).as_posix() for path in (release.ROOT / "portal").rglob("*.py")}
    assert modules <= contents


@pytest.mark.parametrize(
    ("program", "problem"),
    [("echo no database; exit 3", "ended with 3\nno database"), ("exit 0", "ended with 0")],
)
def test_a_demo_that_does_not_serve_is_a_mistake_that_shows_its_output(
    tmp_path: Path, program: str, problem: str
) -> None:
    portal = tmp_path / "portal"
    portal.write_text(f"#!/bin/sh\n{program}\n")
    portal.chmod(0o755)
    with pytest.raises(Mistake, match=problem):
        release.try_demo(portal, tmp_path)
