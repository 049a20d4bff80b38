"""Values of a content are set and removed; everything else keeps its text."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portal.admin.editing import put_below, set_values, values
from portal.admin.yaml_text import entry, inline
from portal.config.yaml_document import parse_document, parse_inline
from portal.errors import ConfigurationError
from portal.tenancy.presets.templates import value_at

CONTENT = """\
# The organisation
name: Acme   # as on the letterhead
client:
  # from the provider
  id: portal
  secret: "sealed:ab#c"   # keep

access:
  require:
  - {claim: email, ends_with: "@acme.example"}   # staff
  - claim: roles

    contains: portal
scopes: [openid, 'profile', ]
api: {base_url: https://api.acme.example, timeout: 5s}
# the end
"""


def changed(path: tuple[str, ...], value: object) -> str:
    return set_values(CONTENT, {path: value})


@pytest.mark.parametrize(
    ("path", "value", "before", "after"),
    [
        (("name",), "Acme Corporation", "name: Acme ", "name: Acme Corporation "),
        (("client", "id"), "x: 1", "id: portal", 'id: "x: 1"'),
        (("client", "auth"), "none", '# keep\n', "# keep\n  auth: none\n"),
        (("client", "id"), None, "  id: portal\n", ""),
        (("branding", "color"), "#123456", "# the end\n", 'branding:\n  color: "#123456"\n# the end\n'),
        (("scopes",), ["openid"], "[openid, 'profile', ]", "[openid]"),
        (("api", "timeout"), None, ", timeout: 5s", ""),
        (("api", "base_url"), None, "base_url: https://api.acme.example, ", ""),
        (("api", "mtls"), True, "5s}", "5s, mtls: true}"),
        (("api",), None, "api: {base_url: https://api.acme.example, timeout: 5s}\n", ""),
        (("api",), {"base_url": "https://b.example"},
         "{base_url: https://api.acme.example, timeout: 5s}", "{base_url: https://b.example}"),
    ],
)  # fmt: skip
def test_only_the_text_of_the_change_is_another(
    path: tuple[str, ...], value: object, before: str, after: str
) -> None:
    assert CONTENT.count(before) == 1
    assert changed(path, value) == CONTENT.replace(before, after)


def test_a_list_of_rules_is_written_one_rule_a_line() -> None:
    rules = [{"claim": "email", "ends_with": "@b.example"}, {"claim": "hd", "equals": "b.example"}]
    made = changed(("access", "require"), rules)
    assert (
        '  require:\n    - {claim: email, ends_with: "@b.example"}\n    - {claim: hd, equals: b.example}\n'
        in made
    )
    assert made.startswith(CONTENT[: CONTENT.index("  require")])
    assert made.endswith(CONTENT[CONTENT.index("scopes") :])


def test_what_is_the_same_changes_nothing() -> None:
    same: dict[tuple[str, ...], object] = {
        ("name",): "Acme",
        ("client",): {"id": "portal", "secret": "sealed:ab#c"},
        ("label",): None,
    }
    assert set_values(CONTENT, same) == CONTENT


def test_a_truth_value_is_not_a_number() -> None:
    assert set_values("a: 1\n", {("a",): True}) == "a: true\n"


def test_an_empty_content_becomes_one_with_the_values() -> None:
    assert set_values("", {("name",): "A", ("client", "id"): "b"}) == "name: A\nclient:\n  id: b\n"


def test_line_breaks_of_windows_are_kept() -> None:
    made = set_values("a: 1\r\nb:\r\n  c: d\r\n", {("b", "e"): "f", ("g",): "h"})
    assert made == "a: 1\r\nb:\r\n  c: d\r\n  e: f\r\ng: h\r\n"


@pytest.mark.parametrize(
    ("content", "path", "value"),
    [
        ("a: |+\n  text\n\n\nb: 1\n", ("c",), "d"),
        ("a:\n  b: |\n    text\n", ("a", "c"), "d"),
        ("- : a\n".replace("- ", "? x\n"), ("y",), "1"),
        ("a: {b: c, # x\n  d: e}\n", ("a", "f"), "g"),
        ("a: {b: c}\n", ("a", "b", "c"), "d"),
        ("a: [1]\n", ("a", "b"), "d"),
        ("a:\n- 1\n- 2\n", ("a",), "d"),
        ("a:\nb: 1\n", ("a",), "d"),
        ("{a: b}\n", ("a",), None),
        ("--- # begin\na: b\n...\n", ("c",), "d"),
        ("a: b", ("c",), "d"),
        ("a: 'x\n\n  y'\nb: 2\n", ("a",), "d"),
        ("  a: 1\n  b: 2\n", ("c", "d"), "e"),
        ("a: {}\n", ("a", "b"), "c"),
        ('"a": {"b":"c"}\n', ("a", "d"), "e"),
    ],
)
def test_unusual_texts_have_the_right_values_afterwards(
    content: str, path: tuple[str, ...], value: object
) -> None:
    expected = copy.deepcopy(values(content))
    _apply(expected, path, value)
    assert values(set_values(content, {path: value})) == expected


@pytest.mark.parametrize(
    "content", ["a: &x [1]\nb: *x\n", "a: !!python/object:os.x {}\n", "a: 1\na: 2\n", "- a\n"]
)
def test_what_no_tenant_may_have_is_refused(content: str) -> None:
    with pytest.raises(ConfigurationError):
        set_values(content, {("b",): "c"})


def test_moved_entries_keep_their_text_and_comments() -> None:
    made = put_below(CONTENT, ("client", "scopes"), ("providers", "staff"))
    assert made == (
        CONTENT.replace(
            """client:
  # from the provider
  id: portal
  secret: "sealed:ab#c"   # keep
""",
            "",
        ).replace("scopes: [openid, 'profile', ]\n", "")
        + """providers:
  staff:
    client:
      # from the provider
      id: portal
      secret: "sealed:ab#c"   # keep
    scopes: [openid, 'profile', ]
"""
    )


def test_entries_of_an_unusual_text_are_moved_as_well() -> None:
    assert values(put_below("{a: 1, b: 2}\n", ("b",), ("p", "q"))) == {"a": 1, "p": {"q": {"b": 2}}}


HOSTILE = [
    "\n x: 1",
    "a\nname: Evil",
    ": #",
    "# no comment",
    "{{ page }}",
    "{% raw %}",
    "!!python/object:os.system",
    "&a",
    "*a",
    "'",
    '"',
    '\\"',
    "\\",
    "|",
    ">",
    "- a",
    "? a",
    "%YAML 1.1",
    "---",
    "...",
    "yes",
    "null",
    "~",
    "1",
    "0x10",
    "1e3",
    "a, b",
    "a]",
    "a}",
    "a: b",
    "a:",
    " a",
    "a ",
    "\t",
    "\x00\x07\x1b",
    "\x85\u2028\u2029\ufeff",
    "\u202eevil",
    "${SECRET}",
    "file:/etc/passwd",
    "😀",
    "",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_value_stays_a_value(hostile: str) -> None:
    for path in (("name",), ("client", "id"), ("new",), ("api", "timeout"), ("api", "new"), ("a", "b")):
        expected = copy.deepcopy(values(CONTENT))
        _apply(expected, path, hostile)
        assert values(changed(path, hostile)) == expected
    rules = [{"claim": hostile, "one_of": [hostile]}]
    assert value_at(values(changed(("access", "require"), rules)), ("access", "require")) == rules
    assert values(changed((hostile, hostile), "x"))[hostile] == {hostile: "x"}


def _apply(root: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    *inner, last = path
    for key in inner:
        if not isinstance(root.get(key), dict):
            root[key] = {}
        root = root[key]
    if value is None:
        root.pop(last, None)
    else:
        root[last] = value


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(HOSTILE)
scalar = text | st.integers(-999, 999) | st.booleans()
value = st.recursive(
    scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, min_size=1, max_size=3)
)
root = st.dictionaries(text, value, max_size=4)
path = st.lists(text, min_size=1, max_size=3).map(tuple)


def _pieces(made: dict[str, Any]) -> str:
    return "# first\n" + "".join(
        f"{entry(key, one)}\n# after {index}\n" if index % 2 else f"{inline(key)}: {inline(one)}\n"
        for index, (key, one) in enumerate(made.items())
    )


@settings(deadline=None)
@given(value)
@example({"a": [{"b": "-"}]})
def test_every_value_is_read_back_as_it_was(one: object) -> None:
    assert parse_inline(inline(one), "x") == one
    assert parse_document((entry("k", one) + "\n").encode(), "x").root == {"k": one}


@settings(deadline=None, max_examples=200)
@given(root, path, value | st.none())
def test_any_change_is_made_alone_and_once(
    before: dict[str, Any], path: tuple[str, ...], new: object
) -> None:
    content = _pieces(before) if before else ""
    made = set_values(content, {path: new})
    after = values(made)
    for key in before.keys() - {path[0]}:
        assert after[key] == before[key]
    assert value_at(after, path) == new
    assert set_values(made, {path: new}) == made
    for index, key in enumerate(before):
        if index % 2 and key != path[0]:
            assert f"# after {index}\n" in made
            assert entry(key, before[key]) in made
