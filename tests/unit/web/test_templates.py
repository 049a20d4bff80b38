"""Every page renders, and shows hostile text harmlessly."""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from tornado.escape import utf8, xhtml_escape

from portal.tenancy.presets import built_in
from portal.web import markup
from portal.web.admin import provider_views
from portal.web.assets import load_templates
from portal.web.markup import Markup, escaped
from tests.kit.page_samples import ACME, EVERY, FULL_HOME, HOSTILE, HOSTILE_PAGES, STATIC, TEMPLATES, html_of
from tests.kit.page_tree import Node, PageParser


@functools.cache
def html_named(name: str) -> str:
    """Return a page as HTML, made once for all tests."""
    return html_of(*EVERY[name])


@functools.cache
def page_named(name: str) -> Node:
    """Return a page as a tree, made once for all tests; they do not change it."""
    return PageParser(html_named(name)).root


every_page = pytest.mark.parametrize("name", EVERY)


@every_page
def test_a_page_has_no_inline_script_style_or_handler(name: str) -> None:
    for node in page_named(name).all():
        assert node.tag not in {"style", "iframe", "object", "base"}
        if node.tag == "script":
            assert node.attrs["src"].startswith("/static/")
            assert not node.text
        assert not [attr for attr in node.attrs if attr == "style" or attr.startswith("on")]


OF_THE_TENANT = {link.url for link in FULL_HOME.links}
"""Applications of a tenant, which may be elsewhere."""


@every_page
def test_a_page_leads_and_loads_only_within_the_portal(name: str) -> None:
    for node in page_named(name).all():
        for attr in ("href", "src", "action", "formaction", "data-login-url"):
            if attr in node.attrs:
                if node.attrs[attr] in OF_THE_TENANT:
                    assert node.tag == "a"
                    continue
                assert re.match(r"/(?!/)|#", node.attrs[attr]), (attr, node.attrs[attr])


@pytest.mark.parametrize("name", HOSTILE_PAGES)
def test_hostile_text_is_shown_as_text(name: str) -> None:
    html = html_named(name)
    assert HOSTILE not in html
    assert "<script>alert" not in html
    page = PageParser(html).root
    fields = [one.attrs.get("value") for one in page.all("input")]
    texts = [node.text for node in page.all("main", "textarea")]
    assert HOSTILE in fields or any(HOSTILE in text for text in texts)
    assert not [image for image in page.all("img") if "onerror" in image.attrs]


@pytest.mark.parametrize("name", HOSTILE_PAGES)
def test_hostile_text_cannot_change_the_direction_of_the_text_around_it(name: str) -> None:
    for node in page_named(name).all():
        if "alert(1)" not in node.own_text or node.tag in {"title", "code"}:
            continue
        around = [node, *node.ancestors()]
        assert any(outer.tag == "bdi" or "dir" in outer.attrs for outer in around), node


@every_page
def test_every_form_that_changes_something_carries_the_xsrf_token(name: str) -> None:
    chrome = EVERY[name][2]
    for form in page_named(name).all("form"):
        tokens = [box for box in form.all("input") if box.attrs.get("name") == "_xsrf"]
        if form.attrs["method"] == "get":
            assert not tokens
            continue
        assert [(box.attrs["type"], box.attrs["value"]) for box in tokens] == [("hidden", chrome.xsrf_token)]


@every_page
def test_every_field_has_a_label_and_every_reference_an_element(name: str) -> None:
    page = page_named(name)
    ids = [node.attrs["id"] for node in page.all() if "id" in node.attrs]
    assert len(ids) == len(set(ids))
    labelled = {label.attrs["for"] for label in page.all("label")}
    fields = {
        node.attrs["id"]
        for node in page.all("input", "select", "textarea")
        if node.attrs.get("type") != "hidden"
    }
    assert labelled == fields
    for node in page.all():
        assert node.attrs.get("aria-labelledby", ids[0]) in ids
        if node.attrs.get("href", "").startswith("#"):
            assert node.attrs["href"][1:] in ids


@every_page
def test_every_button_and_link_has_a_name(name: str) -> None:
    for node in page_named(name).all("a", "button", "summary"):
        assert node.text, node


@every_page
def test_a_page_has_its_landmarks_a_title_and_headings_in_order(name: str) -> None:
    page = page_named(name)
    assert page.all("html")[0].attrs == {"lang": "en-GB", "dir": "ltr"}
    assert page.all("title")[0].text.endswith("Tenant Portal")
    assert [len(page.all(tag)) for tag in ("header", "main", "footer", "h1")] == [1, 1, 1, 1]
    assert page.all("body")[0].children[0].attrs["href"] == "#content"
    levels = [int(node.tag[1]) for node in page.all("h1", "h2", "h3", "h4")]
    assert all(after - before <= 1 for before, after in pairwise(levels))


@every_page
def test_the_switcher_on_every_page_leads_to_each_signed_in_tenant(name: str) -> None:
    chrome = EVERY[name][2]
    (switcher,) = (nav for nav in page_named(name).all("nav") if "switcher" in nav.attrs["class"])
    links = switcher.all("a")
    people = [card.home_url for person in chrome.people for card in person.cards]
    assert sorted(people) == sorted(card.home_url for card in chrome.signed_in)
    assert [link.attrs["href"] for link in links] == [*people, *(one.url for one in chrome.again), "/"]
    current = [link.attrs["href"] for link in links if "aria-current" in link.attrs]
    assert current == ([chrome.current.home_url] if chrome.current else [])


# --- sources


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.name)
def test_no_template_turns_escaping_off(path: Path) -> None:
    assert not re.search(r"{%\s*(raw|autoescape|module)\b", path.read_text())


def test_only_the_data_of_pages_makes_markup_and_escapes_every_value_in_it() -> None:
    portal = Path(markup.__file__).parent.parent
    makers = [path.name for path in portal.rglob("*.py") if "Markup(" in path.read_text()]
    assert sorted(makers) == ["language.py", "markup.py", "provider_views.py", "views.py"]
    assert ">&lt;&quot;</text>" in ACME._replace(initials='<"').avatar.decode()
    preset = built_in().find("okta")
    assert preset is not None
    logo = provider_views.logo_of(replace(preset, logo=replace(preset.logo, letters="<&")))
    assert logo.count(b"<") == logo.count(b">") == 5
    assert ">&lt;&amp;</text>" in logo.decode()


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_no_script_turns_text_into_markup_or_code(path: Path) -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|setAttribute\("
    assert not re.search(forbidden, path.read_text())


def test_values_are_escaped_as_tornado_does() -> None:
    texts = [*map(chr, range(256)), "", "plain", "a&b", "<", '"', "'", "é<", HOSTILE]
    for text in texts:
        assert escaped(text) == utf8(xhtml_escape(text))
        assert escaped(text.encode()) == utf8(xhtml_escape(text))
    assert [escaped(7), escaped(None), escaped(["<"])] == [b"7", b"None", b"[&#x27;&lt;&#x27;]"]
    assert escaped(Markup(b"<b>")) == Markup(b"<b>")


def test_every_value_of_a_template_is_written_with_one_call() -> None:
    """Otherwise Tornado generates other code than `_WRITE_VALUE` expects; pages are right, but slower."""
    for template in load_templates().templates.values():
        name = Path(template.name).name
        if not name.startswith("_") and name != "base.html":
            assert "_tt_append(escaped(" in template.code
            assert "_tt_tmp" not in template.code


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.css")), ids=lambda path: path.name)
def test_a_style_sheet_loads_nothing(path: Path) -> None:
    assert not re.search(r"@import|url\(|@font-face", path.read_text())


# --- colours


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_initials_are_readable_on_any_colour() -> None:
    steps = range(0, 256, 15)
    for color in (f"#{red:02x}{green:02x}{blue:02x}" for red in steps for green in steps for blue in steps):
        card = ACME._replace(color=color)
        dark, light = sorted((luminance(card.color), luminance(card.ink)))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, color
