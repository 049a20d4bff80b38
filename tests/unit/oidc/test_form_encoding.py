"""The encoding of queries and forms is that of the standard library."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, urlencode

from hypothesis import given
from hypothesis import strategies as st

from portal.oidc.form_encoding import form_of, query_of

PARAMETERS = st.lists(st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]))] * 2), max_size=4)


@given(PARAMETERS)
def test_a_query_is_encoded_as_the_standard_library_does(parameters: list[tuple[str, str]]) -> None:
    assert query_of(parameters) == urlencode(parameters, quote_via=quote)


@given(PARAMETERS)
def test_a_form_is_encoded_as_the_standard_library_does(fields: list[tuple[str, str]]) -> None:
    assert form_of(fields) == urlencode(fields).encode()


def test_no_value_can_add_a_parameter_or_end_the_query() -> None:
    hostile = [("a&b", "c=d"), ("e#f", "g+h i"), ("j", "%26k")]
    assert parse_qsl(query_of(hostile)) == hostile
    assert parse_qsl(form_of(hostile).decode()) == hostile
    assert "#" not in query_of(hostile)
