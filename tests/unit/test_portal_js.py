"""portal.js: its size, its types, and what it must not contain."""

from __future__ import annotations

import gzip
import re

from scripts.client_js import LARGEST, SERVED, SOURCE

TYPES = SOURCE.with_suffix(".d.ts")
FUNCTIONS = {"session", "fetch", "kept", "login", "logout", "switchTo", "socket", "on"}


def test_the_served_file_has_at_most_3_kb_when_it_is_compressed() -> None:
    assert len(gzip.compress(SERVED.read_bytes(), 9)) <= LARGEST


def test_the_types_declare_what_the_module_exports() -> None:
    source = SOURCE.read_text()
    exported = set(re.findall(r"^export (?:async )?function (\w+)", source, re.MULTILINE))
    exported |= set(re.findall(r"^export \{ \w+ as (\w+) \};", source, re.MULTILINE))
    declared = re.findall(r"^export function (\w+)", TYPES.read_text(), re.MULTILINE)
    assert exported == set(declared) == FUNCTIONS


def test_the_types_name_every_error_of_the_module() -> None:
    thrown = set(re.findall(r'new PortalError\(\s*"(\w+)"', SOURCE.read_text()))
    (declared,) = re.findall(r"^  code: (.*);$", TYPES.read_text(), re.MULTILINE)
    assert set(re.findall(r'"(\w+)"', declared)) == thrown


def test_the_module_keeps_nothing_in_the_browser_but_a_request_that_the_page_asked_it_to_keep() -> None:
    source = SOURCE.read_text()
    assert source.count("sessionStorage.setItem(") == 1
    assert "localStorage" not in source
    assert "document.cookie" not in source
    assert "postMessage({" in source
    assert not re.search(r"(?:opener|parent|popup|top)\.postMessage", source)
