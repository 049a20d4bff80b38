"""The pages of examples/, built from their lock files and served in front of the test environment."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from portal.config.front_ends import FrontEnd
from scripts.client_js import ROOT, node
from tests.browser.desk import DeskStage, NewVisitor, end_login
from tests.browser.visitor import Visitor
from tests.kit import axe

EXAMPLES = ROOT / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/README.md"))
BUILT = ROOT / ".cache" / "examples"


def sources(folder: Path) -> list[Path]:
    skipped = {"node_modules", "dist"}
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not skipped & set(path.relative_to(folder).parts)
    )


def npm(*arguments: str, folder: Path) -> None:
    program = node()
    cli = program.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    command = (str(program), str(cli), *arguments)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr


def build(name: str) -> Path:
    """Build an example below .cache/, once for each version of its files; return the folder to serve."""
    client = ROOT / "clients" / "js"
    content = hashlib.sha256()
    for path in [*sources(EXAMPLES / name), *sources(client)]:
        content.update(f"{path}\n".encode() + path.read_bytes())
    copy = BUILT / content.hexdigest()[:16] / "examples" / name
    BUILT.mkdir(parents=True, exist_ok=True)
    with (BUILT / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (copy / ".done").exists():
            shutil.rmtree(copy.parents[1], ignore_errors=True)
            for original, target in ((EXAMPLES / name, copy), (client, copy.parents[1] / "clients" / "js")):
                for path in sources(original):
                    place = target / path.relative_to(original)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, place)
            if (copy / "package.json").exists():
                npm("ci", folder=copy)
                npm("run", "build", folder=copy)
            (copy / ".done").touch()
    found = [copy / part for part in ("dist", "public", ".") if (copy / part / "index.html").is_file()]
    return found[0]


@pytest.fixture(params=NAMES)
def stage(request: pytest.FixtureRequest, tmp_path: Path, log_lines: io.StringIO) -> Iterator[DeskStage]:
    example = FrontEnd(path="/app", directory=build(request.param), home="/app/{tenant}/")
    with contextlib.closing(DeskStage(tmp_path, front_ends={"app": example})) as made:
        yield made


def open_example(visitor: Visitor, stage: DeskStage) -> None:
    page = visitor.open("/app/acme/")
    with stage.automatic("acme"):
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(stage.at("/app/acme/"))
        expect(page.get_by_role("listitem").first).to_have_text("Umbrella Ltd: 2 × Rocket skates")


@pytest.mark.timeout(300)
def test_an_example_lists_and_places_orders_also_after_the_sign_in_has_expired(
    stage: DeskStage, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor()
    page = visitor.page
    open_example(visitor, stage)
    expect(page.get_by_text("Alice Archer, Acme Corporation")).to_be_visible()
    axe.check(page)
    for customer in ("<b>Road Runner</b>", "Wile E."):
        page.get_by_label("Customer").fill(customer)
        page.get_by_label("Item").fill("Anvil")
        with stage.automatic("acme"):
            page.get_by_role("button", name="Place the order").click()
            expect(page.get_by_text(f"{customer}: 1 × Anvil")).to_be_visible()
        expect(page.get_by_label("Customer")).to_have_value("")
        assert stage.orders("acme").count(customer) == 1
        end_login(visitor)
    assert visitor.foreign_requests() == []
    visitor.check_no_errors(refusals=True)


def test_every_example_has_a_lock_file_without_the_address_of_a_registry() -> None:
    assert NAMES == ["htmx", "react-vite", "vanilla"]
    for package in EXAMPLES.glob("*/package.json"):
        lock = package.with_name("package-lock.json").read_text()
        assert 'resolved": "http' not in lock
        assert "omit-lockfile-registry-resolved=true" in package.with_name(".npmrc").read_text()
