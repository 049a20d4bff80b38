"""Strict reading of YAML, with the position of every key and value."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portal.config.yaml_document import (
    MAX_BYTES,
    MAX_PROBLEMS,
    MAX_VALUES,
    Document,
    parse_document,
    parse_inline,
    read_document,
    visible,
)
from portal.errors import ConfigurationError


def problems_of(content: bytes | str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse_document(content.encode() if isinstance(content, str) else content, "acme.yaml")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", 'acme.yaml:3:1: this key occurs twice; the first is on line 1'),
        ("a:\n  b: {c: 1, c: 2}\n", 'acme.yaml:2:13: this key occurs twice; the first is on line 2'),
        ("a: 1\n---\nb: 1\n", "acme.yaml:2:1: a second document begins here; a file must contain only one"),
        ("a:\n  - !!python/object:os.system x\n",
         'acme.yaml:2:5: a tag (!) is not allowed; leave it out, or quote the value'),
        ("a: !secret x\n", 'acme.yaml:1:4: a tag (!) is not allowed; leave it out, or quote the value'),
        ("a: !!map {}\n", 'acme.yaml:1:4: a tag (!) is not allowed; leave it out, or quote the value'),
        ("a: &x 1\n", 'acme.yaml:1:4: an anchor (&) is not allowed; leave it out, or quote the value'),
        ("a: *x\n", 'acme.yaml:1:4: an alias (*) is not allowed; write the value again, or quote it'),
        ("<<: *x\n", 'acme.yaml:1:5: an alias (*) is not allowed; write the value again, or quote it'),
        ("*x : 1\n", 'acme.yaml:1:1: an alias (*) is not allowed; write the value again, or quote it'),
        ("a:\n\tb: 1\n", "acme.yaml:2:1: a tab is used for indentation; use spaces"),
        ("a:\n  \tb: 1\n", "acme.yaml:2:3: a tab is used for indentation; use spaces"),
        ("a: \x07b\n", "acme.yaml:1:4: control character U+0007 is not allowed"),
        ("a: b\x00\n", "acme.yaml:1:5: control character U+0000 is not allowed"),
        ("a: b\u202ec\n", "acme.yaml:1:5: control character U+202E is not allowed"),
        ("a: \u2066b\n", "acme.yaml:1:4: control character U+2066 is not allowed"),
        (
            'a: "\\u202e"\n',
            "acme.yaml:1:4: a character that changes the direction of text is not allowed",
        ),
        (b"a: b\nc: \xff\n", "acme.yaml:2:4: byte 0xff is not UTF-8; save the file as UTF-8"),
        ("ä: é\n".encode("latin-1"), "acme.yaml:1:1: byte 0xe4 is not UTF-8; save the file as UTF-8"),
        ("a: b\n".encode("utf-16"), "acme.yaml:1:1: byte 0xff is not UTF-8; save the file as UTF-8"),
        ("- a\n", 'acme.yaml:1:1: expected a mapping (lines of "key: value"), found a list'),
        ("# only this\n\nword\n", 'acme.yaml:3:1: expected a mapping (lines of "key: value"), found text'),
        ("", 'acme.yaml:1:1: expected a mapping (lines of "key: value"), found an empty file'),
        ("# nothing\n", 'acme.yaml:1:1: expected a mapping (lines of "key: value"), found an empty file'),
        ("? [a]\n: b\n", "acme.yaml:1:3: a key must be text"),
        ("{a: 1, {b: c}: d}\n", "acme.yaml:1:8: a key must be text"),
        ("a: " + "[" * 30, "acme.yaml:1:23: the value is nested deeper than 20 levels"),
        ("a: [1\nb: 2\n", "acme.yaml:1:4: the [ that begins here is not closed by ]"),
        ("a: @b\n", "acme.yaml:1:4: a value cannot begin with @; put it in quotes"),
        ("a: b: c\n", "acme.yaml:1:5: a value that contains a colon and a space must be in quotes"),
        ("a: *\n", "acme.yaml:1:5: this is not YAML: did not find expected alphabetic or numeric character "
         "while scanning an alias"),
    ],
)  # fmt: skip
def test_ambiguous_yaml_is_refused_with_its_place(content: bytes | str, problem: str) -> None:
    assert problems_of(content) == [problem]


def test_all_problems_of_a_file_are_reported_together() -> None:
    assert problems_of("a: &x 1\nb: *x\na: !y 2\n") == [
        "acme.yaml:1:4: an anchor (&) is not allowed; leave it out, or quote the value",
        "acme.yaml:2:4: an alias (*) is not allowed; write the value again, or quote it",
        "acme.yaml:3:1: this key occurs twice; the first is on line 1",
        "acme.yaml:3:4: a tag (!) is not allowed; leave it out, or quote the value",
    ]


def test_the_number_of_reported_problems_is_limited() -> None:
    assert len(problems_of("a: 1\n" * 1000)) == MAX_PROBLEMS
    assert len(problems_of("a:\n" + "\tb\n" * 1000)) == MAX_PROBLEMS
    assert len(problems_of("\x01" * 1000)) == MAX_PROBLEMS


@pytest.mark.parametrize(
    ("many", "place"),
    [
        (lambda count: "x:\n" + "- a\n" * count, f"{MAX_VALUES}:3"),
        (lambda count: "".join(f"k{number}: 1\n" for number in range(count + 1)), f"{MAX_VALUES}:8"),
        (lambda count: "x: [" + "[]," * count + "]\n", f"1:{5 + 3 * (MAX_VALUES - 2)}"),
    ],
)
def test_T7_a_file_with_too_many_values_is_refused_with_the_place_of_the_first_excess_value(
    many: Callable[[int], str], place: str
) -> None:
    """The mapping itself counts as a value."""
    assert parse_document(many(MAX_VALUES - 2).encode(), "acme.yaml").root
    message = f"the file has more than {MAX_VALUES} values"
    for count in (MAX_VALUES - 1, 20_000):
        assert problems_of(many(count)) == [f"acme.yaml:{place}: {message}"]


def test_messages_contain_no_control_characters_of_keys() -> None:
    (problem,) = problems_of('"\\e[2J": 1\n"\\e[2J": 2\n')
    assert problem == "acme.yaml:2:1: this key occurs twice; the first is on line 1"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("text", "text"),
        ("'7'", "7"),
        ('"true"', "true"),
        ("7", 7),
        ("-7", -7),
        ("0777", 777),
        ("1.5", 1.5),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("1234567890123456789012", "1234567890123456789012"),
        ("[a, 1]", ["a", 1]),
        ("{b: c}", {"b": "c"}),
        ("|\n  one\n  two\n", "one\ntwo\n"),
    ],
)
def test_scalars_follow_the_core_schema(written: str, value: object) -> None:
    document = parse_document(f"a: {written}\n".encode(), "f")
    assert document.root == {"a": value}
    assert type(document.root["a"]) is type(value)


def test_keys_are_read_as_text() -> None:
    assert parse_document(b"1: a\ntrue: b\n~: c\n", "f").root == {"1": "a", "true": "b", "~": "c"}


def test_every_key_and_value_has_its_place() -> None:
    document = parse_document(b"# one\na: 1\nb:\n  - x\n  - {c: 2}\n", "f.yaml")
    assert document.place(("a",)) == "f.yaml:2:4"
    assert document.place(("a",), key=True) == "f.yaml:2:1"
    assert document.place(("b", 0)) == "f.yaml:4:5"
    assert document.place(("b", 1, "c")) == "f.yaml:5:9"
    assert document.place(("b", 1, "c"), key=True) == "f.yaml:5:6"


def test_a_missing_value_is_reported_at_its_mapping() -> None:
    document = parse_document(b"a: 1\nb:\n  c: 2\n", "f.yaml")
    assert document.place(("b", "d")) == "f.yaml:2:1"
    assert document.place(("d", "e")) == "f.yaml:1:1"
    assert Document("f.yaml", {}).place(("a",)) == "f.yaml:1:1"


def test_columns_count_characters_not_bytes() -> None:
    assert parse_document("ä: {ö: 1}\n".encode(), "f").place(("ä", "ö")) == "f:1:8"


def test_a_byte_order_mark_and_all_line_endings_are_accepted() -> None:
    document = parse_document(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", "f")
    assert document.root == {"a": 1, "b": 2}
    assert document.place(("b",)) == "f:2:4"


def test_tabs_that_do_not_indent_are_allowed() -> None:
    content = b'a:\tb\n\nc: "x\ty"\t# said\n'
    assert parse_document(content, "f").root == {"a": "b", "c": "x\ty"}


def test_a_file_is_named_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("acme.yaml").write_text("a: *x\n")
    with pytest.raises(ConfigurationError) as caught:
        read_document(Path("acme.yaml"))
    assert caught.value.problems[0].place == "acme.yaml:1:4"


def test_a_file_of_the_largest_size_is_read_and_a_larger_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"a: 1\n#".ljust(MAX_BYTES, b"x"))
    assert read_document(path).root == {"a": 1}
    path.write_bytes(b"a: 1\n#".ljust(MAX_BYTES + 1, b"x"))
    with pytest.raises(ConfigurationError, match="is larger than 256 KB"):
        read_document(path)


def test_a_path_that_is_not_a_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    for name, message in (
        ("none.yaml", "there is no such file"),
        ("pipe.yaml", "is not a regular file"),
        ("", "is not a regular file"),
        ("a\0b", "is not the name of a file"),
        ("x" * 300, "cannot be read: File name too long"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            read_document(tmp_path / name)


def test_reading_leaves_no_file_open(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1\n")
    before = len(os.listdir("/proc/self/fd"))
    read_document(tmp_path / "a.yaml")
    with pytest.raises(ConfigurationError):
        read_document(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_one_inline_value_is_parsed() -> None:
    assert parse_inline("[{a: 1}, x]", "PORTAL_X") == [{"a": 1}, "x"]
    for text in ("[", "a: *b", "\x00", "!!python/name:os x"):
        with pytest.raises(ConfigurationError) as caught:
            parse_inline(text, "PORTAL_X")
        assert [str(one) for one in caught.value.problems] == ["PORTAL_X: is not a YAML value on one line"]


def test_visible_text_is_truncated_and_escaped() -> None:
    assert visible("x" * 60) == "x" * 60
    assert visible("x" * 61) == "x" * 60 + "…"
    assert visible("a\u202eb\n") == "a\\u202eb\\u000a"


def assert_is_read_or_refused(content: bytes) -> None:
    problems = None
    try:
        parse_document(content, "f")
    except ConfigurationError as error:
        problems = error.problems
    assert problems is None or all(problem.place.startswith("f:") for problem in problems)
    assert problems != []


@settings(deadline=None)
@given(st.binary(max_size=400))
@example(b"\xef\xbb\xbf")
@example(b'"\\ud800": 1')
@example(b"%YAML 9.9\n---\na: 1")
@example(b"%TAG ! tag:x\n---\n!a b")
def test_random_bytes_are_read_or_refused(content: bytes) -> None:
    assert_is_read_or_refused(content)


WORDS = "a|b: |- |? |: |\n|  |\t|[|]|{|}|, |&x |*x |!t |!!str |>|'|\"|\\|#| #|---\n|...\n|%|@|<<: |~|1|é|\r"
YAML_PIECES = st.sampled_from([*WORDS.split("|"), "|", "\\ud800", "\\x00", "\u2028"])


@settings(deadline=None)
@given(st.lists(YAML_PIECES, max_size=40).map("".join))
def test_random_yaml_is_read_or_refused(text: str) -> None:
    assert_is_read_or_refused(text.encode())
