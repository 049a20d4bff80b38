"""The likely cause of syntax errors, as people make them."""

from __future__ import annotations

import pytest

from portal.config.yaml_document import parse_document
from portal.errors import ConfigurationError

FILE = """\
name: Acme
preset: okta
client:
  id: abc
  secret: x
scopes: [openid, profile]
"""


@pytest.mark.parametrize(
    ("right", "wrong", "place", "message"),
    [
        ("name: Acme", 'name: "Acme', "1:7", "the quote that begins here is not closed"),
        ("name: Acme", "name: 'Acme", "1:7", "the quote that begins here is not closed"),
        ("name: Acme", "name: 'Acme's'", "1:12", "the text in quotes ends here"),
        ("name: Acme", 'name: "Acme" Inc', "1:12", "use single quotes around it"),
        ("name: Acme", "name: Acme: The best", "1:11", "a value that contains a colon and a space"),
        ("name: Acme", "name: @acme", "1:7", "a value cannot begin with @; put it in quotes"),
        ("secret: x", "secret: %x", "5:11", "a value cannot begin with %; put it in quotes"),
        ("secret: x", "secret: `x`", "5:11", "a value cannot begin with `; put it in quotes"),
        ("profile]", "profile", "6:9", "the [ that begins here is not closed by ]"),
        ("client:\n", "client\n", "3:1", "a colon is missing"),
        ("  id: abc", "  id:abc", "4:6", "a space is missing after the colon"),
        ("  secret", " secret", "5:2", "this line is indented by 1 space; the lines above it by 0 or 2"),
        ("  secret", "   secret", "5:4", "this line is indented by 3 spaces; the lines above it by 0 or 2"),
        ("  id", "\u00a0 id", "4:1", "a space from a web page or word processor"),
        ("name: ", "name:\u00a0", "1:6", "a space from a web page or word processor"),
    ],
)
def test_the_message_names_the_likely_cause_and_its_place(
    right: str, wrong: str, place: str, message: str
) -> None:
    assert FILE.count(right) == 1
    with pytest.raises(ConfigurationError) as caught:
        parse_document(FILE.replace(right, wrong).encode(), "acme.yaml")
    [problem] = caught.value.problems
    assert problem.place == f"acme.yaml:{place}"
    assert message in problem.message


@pytest.mark.parametrize("text", ["a: 'b\u00a0c'", "a: b\u00a0c"])
def test_other_spaces_inside_values_are_text(text: str) -> None:
    assert parse_document(text.encode(), "acme.yaml").root
