"""References between documents and code are valid.

Rules: a document names code as `web/api_proxy/handler.py: ApiExchange` (a path below portal/, and a name in
that module); code names a document by its path in the repository (threats: see scripts/threat_model.py).
"""

from __future__ import annotations

import importlib
import re
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
NAMING_CODE = ("architecture.md", "protocol.md")
FOLDERS = ("portal", "tests", "bench", "scripts", "docs", "deploy", "templates", "static")
KINDS = {".py", ".md", ".yaml", ".html", ".css", ".js", ".sh", ".conf"}


def texts() -> Iterator[tuple[str, str]]:
    """Yield all hand-written texts by path, except this module."""
    paths = [*ROOT.glob("*.md"), ROOT / "Makefile", ROOT / "pyproject.toml"]
    paths += [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in KINDS]
    for path in sorted(set(paths) - {Path(__file__)}):
        yield path.relative_to(ROOT).as_posix(), path.read_text()


@pytest.mark.parametrize("document", NAMING_CODE)
def test_code_that_a_document_names_exists(document: str) -> None:
    text = (ROOT / "docs" / document).read_text()
    named = re.findall(r"`([a-z][a-z_/]*\.py)(?:: ([A-Za-z_.]+))?`", text)
    assert named
    for path, name in named:
        assert (ROOT / "portal" / path).exists(), path
        found: object = importlib.import_module(f"portal.{path.removesuffix('.py').replace('/', '.')}")
        for part in filter(None, name.split(".")):
            assert hasattr(found, part), f"{path}: {name}"
            found = getattr(found, part)


def test_the_map_of_packages_is_complete() -> None:
    there = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in (ROOT / "portal").iterdir()
        if not path.name.startswith(("_", ".")) and (path.is_dir() or path.suffix == ".py")
    }
    assert {name for name in there if f"`{name}`" not in _packages()} == set()


def test_the_map_of_packages_has_the_order_of_the_import_rules() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    rows = [line for line in _packages().splitlines() if line.startswith("| `")]
    place = {
        name: number for number, row in enumerate(rows) for name in re.findall(r"`(\w+)(?:/|\.py)`", row)
    }
    ordered = [{place[name] for name in re.findall(r"\w+", layer)} for layer in layers]
    wrong = [pair for pair in pairwise(ordered) if max(pair[0]) > min(pair[1])]
    assert wrong == []


def test_documents_that_code_names_exist() -> None:
    """The site build checks Markdown links; URLs of other sites are not checked."""
    named = {
        (where, path)
        for where, text in texts()
        for path in re.findall(r"(?<!\]\()(?<![\w./])docs/[\w./-]*\w", text)
    }
    assert named
    missing = [(where, path) for where, path in sorted(named) if not any(ROOT.glob(f"{path}*"))]
    assert missing == []


def test_rules_of_the_architecture_that_are_named_exist() -> None:
    rules = set(re.findall(r"^([0-9]+)\. \*\*", ARCHITECTURE, re.MULTILINE))
    named = {number for _, text in texts() for number in re.findall(r"architecture\.md rule ([0-9]+)", text)}
    assert named
    assert named <= rules


def test_no_text_names_a_document_outside_the_repository() -> None:
    elsewhere = re.compile(
        r"\b(?:DESIGN|STYLE|NAMES|THREATS|PROTOCOL)\.md\b|\b(?:DESIGN|PROTOCOL)\b[ ,\"]+[a-z\"]"
    )
    found = [(where, match[0]) for where, text in texts() for match in elsewhere.finditer(text)]
    assert found == []


def _packages() -> str:
    """Return the section of architecture.md that lists the packages."""
    return ARCHITECTURE.partition("## Packages")[2].partition("\n## ")[0]
