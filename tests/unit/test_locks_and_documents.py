"""Lock files match the requirements, and documents refer to things that exist."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import click
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from portal.cli.main import cli
from portal.config.settings import load_settings
from portal.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), ROOT / "tests" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


# --- lock files


def read_lock(name: str, python: str = "3.11.0") -> dict[str, Version]:
    """The releases that a lock file names for this version of Python."""
    lines = re.findall(r"^([A-Za-z0-9._-]+==[^\\\n]+)", (ROOT / name).read_text(), re.MULTILINE)
    wanted = [one for one in map(Requirement, lines) if _holds(one, python)]
    assert len({one.name for one in wanted}) == len(wanted)
    return {canonicalize_name(one.name): Version(str(one.specifier).removeprefix("==")) for one in wanted}


def _holds(requirement: Requirement, python: str) -> bool:
    environment = {"python_full_version": python, "python_version": python.rpartition(".")[0], "extra": ""}
    return requirement.marker is None or requirement.marker.evaluate(environment)


LOCKS = ("requirements.lock", "requirements-build.lock", "requirements-dev.lock")


@pytest.mark.parametrize("name", LOCKS)
def test_lock_file_names_no_index_and_no_path_and_has_a_hash_for_every_package(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert [line for line in text.splitlines() if line.startswith(("-", "/"))] == []
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(entries) >= len(read_lock(name))
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_lock_files_match_the_requirements_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    required = {
        "requirements.lock": project["project"]["dependencies"],
        "requirements-build.lock": project["build-system"]["requires"],
        "requirements-dev.lock": extras["dev"] + extras["docs"] + extras["otel"],
    }
    for name, requirements in required.items():
        pins = read_lock(name)
        for requirement in map(Requirement, requirements):
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_lock_files_agree_on_every_version() -> None:
    runtime, build, everything = map(read_lock, LOCKS)
    assert {**runtime, **build}.items() <= everything.items()


@pytest.mark.parametrize("python", ["3.11.0", "3.12.0", "3.13.0", "3.14.0"])
def test_lock_file_has_what_each_version_of_python_needs(python: str) -> None:
    """A lock that was resolved for one version cannot be installed with another: pip refuses the rest."""
    pins = read_lock("requirements-dev.lock", python)
    checked = 0
    for package, version in pins.items():
        try:
            installed = distribution(package)
        except PackageNotFoundError:
            continue  # for another version of Python
        if Version(installed.version) != version:
            continue
        checked += 1
        assert SpecifierSet(str(installed.metadata.json.get("requires_python", ""))).contains(python), package
        for required in map(Requirement, installed.requires or ()):
            if _holds(required, python):
                assert required.specifier.contains(pins[canonicalize_name(required.name)]), (
                    package,
                    required,
                )
    assert checked > 100


def test_node_lock_file_names_no_registry_and_matches_the_package_file() -> None:
    text = (ROOT / "package-lock.json").read_text()
    lock, required = json.loads(text), json.loads((ROOT / "package.json").read_text())
    assert lock["packages"][""]["devDependencies"] == required["devDependencies"]
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert [name for name, package in packages.items() if "integrity" not in package] == []


# --- documentation


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_is_valid(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text())
    files = [link for link in links if "://" not in link]
    assert [link for link in files if not (document.parent / link).exists()] == []


def test_every_documented_make_target_exists() -> None:
    named = set(re.findall(r"`make ([\w-]+)|^make ([\w-]+)", _documentation(), re.MULTILINE))
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {one or other for one, other in named} <= targets


def test_every_documented_variable_is_a_setting() -> None:
    deployment = [ROOT / "docker-compose.yml", ROOT / ".env.example", ROOT / "Dockerfile"]
    text = _documentation() + "".join(path.read_text() for path in deployment)
    names = set(re.findall(r"PORTAL_[A-Z_]*[A-Z]", text)) - {"PORTAL_CONFIG", "PORTAL_TEST"}
    assert names
    for name in names:
        assert not is_unknown(name), name


def test_every_documented_command_exists() -> None:
    named = re.findall(
        r"(?:^ *|`)(?:\.venv/bin/)?portal ((?:[a-z]+(?:-[a-z]+)* ?)+)", _documentation(), re.MULTILINE
    )
    assert named
    assert [words for words in named if not is_command(words.split())] == []


def is_command(words: list[str]) -> bool:
    """Return whether the words begin with the name of a command, including its groups."""
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
