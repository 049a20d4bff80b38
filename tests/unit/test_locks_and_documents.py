"""Lock files hold what the project asks for, and documents tell what is there."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import click
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from portal.cli.main import cli
from portal.config.settings import load_settings
from portal.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), ROOT / "tests" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


# --- lock files


def read_lock(name: str) -> dict[str, Version]:
    pins = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE)
    return {canonicalize_name(package): Version(version) for package, version in pins}


LOCKS = ("requirements.lock", "requirements-build.lock", "requirements-dev.lock")


@pytest.mark.parametrize("name", LOCKS)
def test_lock_file_names_no_index_and_no_path_and_has_a_hash_for_every_package(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert [line for line in text.splitlines() if line.startswith(("-", "/"))] == []
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(read_lock(name))
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_lock_files_fit_the_requirements_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = {
        "requirements.lock": project["project"]["dependencies"],
        "requirements-build.lock": project["build-system"]["requires"],
        "requirements-dev.lock": extras["dev"] + extras["docs"],
    }
    for name, requirements in wanted.items():
        pins = read_lock(name)
        for requirement in map(Requirement, requirements):
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_lock_files_agree_on_every_version() -> None:
    runtime, build, everything = map(read_lock, LOCKS)
    assert {**runtime, **build}.items() <= everything.items()


def test_node_lock_file_names_no_registry_and_fits_the_package_file() -> None:
    text = (ROOT / "package-lock.json").read_text()
    lock, wanted = json.loads(text), json.loads((ROOT / "package.json").read_text())
    assert lock["packages"][""]["devDependencies"] == wanted["devDependencies"]
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert [name for name, package in packages.items() if "integrity" not in package] == []


# --- documentation


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_to_one(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text())
    files = [link for link in links if "://" not in link]
    assert [link for link in files if not (document.parent / link).exists()] == []


def test_every_make_target_that_is_documented_exists() -> None:
    named = set(re.findall(r"`make ([\w-]+)|^make ([\w-]+)", _documentation(), re.MULTILINE))
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {one or other for one, other in named} <= targets


def test_every_portal_variable_that_is_named_is_a_setting() -> None:
    deployment = [ROOT / "docker-compose.yml", ROOT / ".env.example", ROOT / "Dockerfile"]
    text = _documentation() + "".join(path.read_text() for path in deployment)
    names = set(re.findall(r"PORTAL_[A-Z_]*[A-Z]", text)) - {"PORTAL_CONFIG", "PORTAL_TEST"}
    assert names
    for name in names:
        assert not is_unknown(name), name


def test_every_portal_command_that_is_named_exists() -> None:
    named = re.findall(r"(?:^ *|`)(?:\.venv/bin/)?portal ((?:[a-z]+ ?)+)", _documentation(), re.MULTILINE)
    assert named
    assert [words for words in named if not is_command(words.split())] == []


def is_command(words: list[str]) -> bool:
    """Whether the words begin with the name of a command, all the way down the groups."""
    found: click.Command | None = cli
    for word in words:
        if not isinstance(found, click.Group):
            break
        found = found.commands.get(word)
    return found is not None


def is_unknown(name: str) -> bool:
    try:
        load_settings(None, {name: "x"})
    except ConfigurationError as error:
        return any("unknown variable" in problem.message for problem in error.problems)
    return False


def _documentation() -> str:
    return "".join(document.read_text() for document in DOCUMENTS)
