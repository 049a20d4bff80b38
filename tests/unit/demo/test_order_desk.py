"""The files of the order desk: its words in each language, and what its page must not contain."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from portal.demo.front_ends import ORDER_DESK, demo_front_ends
from portal.errors import ConfigurationError

FOLDER = ORDER_DESK.directory
assert FOLDER is not None
SCRIPTS = {path.name: path.read_text() for path in FOLDER.glob("*.js")}
PAGE = (FOLDER / "index.html").read_text()


def dictionary(language: str) -> dict[str, str]:
    """The words of a language by key, from words.js."""
    [block] = re.findall(rf"^  {language}: \{{\n(.*?)^  \}},$", SCRIPTS["words.js"], re.MULTILINE | re.DOTALL)
    return dict(re.findall(r'^    (\w+): "(.*)",$', block, re.MULTILINE))


def named_keys() -> set[str]:
    """The keys that the page and the scripts name where words are needed."""
    source = "\n".join(text for name, text in SCRIPTS.items() if name != "words.js")
    named = set(re.findall(r'data-(?:t|label|placeholder|empty)="(\w+)"', PAGE))
    return named | set(re.findall(r'\bt\("(\w+)"', source))


def quoted_names() -> set[str]:
    """All short texts in the scripts: some keys are chosen from several."""
    source = "\n".join(text for name, text in SCRIPTS.items() if name != "words.js")
    return set(re.findall(r'"(\w+)"', source))


def test_both_languages_have_the_same_words_with_the_same_values() -> None:
    english, german = dictionary("en"), dictionary("de")
    assert english.keys() == german.keys()
    for key, text in english.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", german[key])), key
    assert sum(english[key] == german[key] for key in english) < 10


def test_every_word_is_used_and_every_used_word_exists() -> None:
    words = dictionary("en").keys()
    assert named_keys() <= words
    states = {f"status_{status}" for status in ("new", "packing", "shipped")}
    assert words - named_keys() - quoted_names() - states == set()


def test_the_page_needs_no_exception_from_the_strict_policy() -> None:
    assert not re.search(r"<script(?![^>]* src=)|\son\w+=|\sstyle=|<style|javascript:|https?:", PAGE)
    for name, text in SCRIPTS.items():
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|document\.write", text), name


def test_the_page_preloads_every_module_that_it_needs() -> None:
    preloaded = set(re.findall(r'"modulepreload" href="/desk/([\w.-]+)"', PAGE))
    assert preloaded | {"desk.js"} == SCRIPTS.keys()


def test_a_folder_or_a_development_server_takes_the_place_of_the_order_desk(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<!doctype html>")
    [made] = demo_front_ends(str(tmp_path)).values()
    assert (made.path, made.directory, made.home) == ("/app", tmp_path, "/app/{tenant}/")
    [made] = demo_front_ends("http://localhost:5173").values()
    assert (made.directory, made.url) == (None, "http://localhost:5173")
    assert demo_front_ends() == {"desk": ORDER_DESK}


@pytest.mark.parametrize("of", ["http://elsewhere.example", "https://localhost:5173", "/nowhere"])
def test_anything_else_is_refused(of: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        demo_front_ends(of)
    assert "--front-end" in str(refused.value)


def test_the_readme_names_the_address_where_a_sign_in_leads() -> None:
    readme = (Path(__file__).resolve().parents[3] / "README.md").read_text()
    assert ORDER_DESK.home is not None
    assert f"`{ORDER_DESK.home.format(tenant='acme')}`" in readme.partition("![")[0]
