"""The entries of a list are changed, moved, added and left out; all other text stays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.admin.editing import values
from portal.admin.list_editing import origins, set_entries

CONTENT = """\
name: Acme
links:   # as on the intranet
  # the desk
  - title: Order desk   # keep
    url: /desk/acme/   # a path
  # the wiki
  - {title: Wiki, url: https://wiki.acme.example/}   # in one line

  -   title: HR
      url: https://hr.acme.example/
      description: >-
        People
        and time
# the end
home_url: /desk/acme/
"""
DESK = {"title": "Order desk", "url": "/desk/acme/"}
WIKI = {"title": "Wiki", "url": "https://wiki.acme.example/"}
HR = {"title": "HR", "url": "https://hr.acme.example/", "description": "People and time"}
NEW = {"title": "New", "url": "/new/"}
SAME = ("url", "title")


def changed(*entries: dict[str, Any], content: str = CONTENT) -> str:
    return set_entries(content, "links", entries, same=SAME)


@pytest.mark.parametrize(
    ("entries", "before", "after"),
    [
        ((DESK, WIKI, HR), "", ""),
        (({**DESK, "title": "Desk"}, WIKI, HR), "title: Order desk ", "title: Desk "),
        (({**DESK, "url": "/x/"}, WIKI, HR), "url: /desk/acme/   # a", 'url: "/x/"   # a'),
        ((DESK, {**WIKI, "description": "All"}, HR), "example/}", "example/, description: All}"),
        (({**DESK, "description": "a: b"}, WIKI, HR),
         "# a path\n", '# a path\n    description: "a: b"\n'),
        ((DESK, HR), "  - {title: Wiki, url: https://wiki.acme.example/}   # in one line\n", ""),
        ((DESK, WIKI, HR, NEW), "and time\n", 'and time\n  - {title: New, url: "/new/"}\n'),
        ((DESK, WIKI, {"title": "HR", "url": HR["url"]}),
         "      description: >-\n        People\n        and time\n", ""),
    ],
)  # fmt: skip
def test_only_the_text_of_the_change_is_another(
    entries: tuple[dict[str, Any], ...], before: str, after: str
) -> None:
    if before:
        assert CONTENT.count(before) == 1
    assert changed(*entries) == (CONTENT.replace(before, after) if before else CONTENT)


def test_an_entry_moves_with_the_comment_above_it() -> None:
    text = changed(WIKI, DESK, HR)
    assert values(text)["links"] == [WIKI, DESK, HR]
    assert text.index("# the wiki") < text.index("- {title: Wiki") < text.index("# the desk")
    assert text.index("# the desk") < text.index("Order desk   # keep")


def test_the_comment_above_an_entry_stays_without_it() -> None:
    text = changed(WIKI, HR)
    assert values(text)["links"] == [WIKI, HR]
    assert "# the desk" in text
    assert "in one line" in text


def test_without_entries_the_key_is_removed() -> None:
    text = changed()
    assert "links" not in values(text)
    assert "# the end" in text


@pytest.mark.parametrize(
    "content",
    [
        "name: Acme\n",
        "",
        "{name: Acme}\n",
        "links: [{title: a, url: /b}]\n",
        "links:\n- title: a\n  url: /b",
        "links:\r\n- title: a\r\n  url: /b\r\n",
        "links: [1, 2]\n",
        "links: text\n",
        "links:\n-\n  title: a\n  url: /b\n",
        "links:\n- {title: a,\n   url: /b}\n",
        "links:\n- {title: a,\nurl: /b}\n",
        "links:\n- title: a\n  url: /b\n  links: [1]\n",
    ],
)
def test_lists_in_any_form_are_changed(content: str) -> None:
    for entries in ([DESK], [DESK, HR], [{"title": "a", "url": "/c"}, NEW]):
        text = changed(*entries, content=content)
        assert values(text) == {**values(content), "links": entries}


def test_changed_entries_are_recognized_by_address_and_then_by_title() -> None:
    now = [DESK, WIKI]
    renamed, moved = {**WIKI, "title": "Pages"}, {**DESK, "url": "/other/"}
    assert origins(now, [renamed, moved, NEW], SAME) == [1, 0, None]
    assert origins(now, [WIKI, WIKI], SAME) == [1, None]


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=12)
ENTRIES = st.lists(
    st.fixed_dictionaries({"title": TEXTS, "url": TEXTS}, optional={"description": TEXTS}), max_size=4
)


@settings(deadline=None, max_examples=60)
@given(first=ENTRIES, second=ENTRIES, keep=st.booleans())
def test_any_list_becomes_any_other(
    first: list[dict[str, Any]], second: list[dict[str, Any]], keep: bool
) -> None:
    begun = changed(*first, content="name: Acme\n")
    wanted = [*second, *first[:1]] if keep else second
    text = changed(*wanted, content=begun)
    assert values(text) == {"name": "Acme", **({"links": wanted} if wanted else {})}
