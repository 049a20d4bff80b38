"""The forms of the console: what was typed comes back, with a sentence beside what is wrong."""

from __future__ import annotations

import pytest

from portal.errors import BadRequest
from portal.web.admin.fields import NAME_FIELD, REASON_FIELD, SLUG_FIELD
from portal.web.admin.form import TextField, empty_form, read_form


def test_a_form_without_errors_has_the_trimmed_values() -> None:
    form = read_form(
        {"slug": [" acme "], "name": ["Acme"], "other": ["x"]}, (SLUG_FIELD, NAME_FIELD, REASON_FIELD)
    )
    assert (form.values, form.errors) == ({"slug": "acme", "name": "Acme", "reason": ""}, {})


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("", SLUG_FIELD.sentence),
        ("Acme", SLUG_FIELD.sentence),
        ("acme\nx", SLUG_FIELD.sentence),
        ("-acme", SLUG_FIELD.sentence),
        ("a" * 64, "At most 63 characters; this has 64."),
    ],
)
def test_what_is_wrong_has_a_sentence_and_what_was_typed_stays(typed: str, sentence: str) -> None:
    form = read_form({"slug": [typed]}, (SLUG_FIELD,))
    assert form.errors == {"slug": sentence}
    view = form.views()["slug"]
    assert (view.value, view.error) == (typed, sentence)


def test_the_first_sentence_beside_a_field_stays() -> None:
    form = empty_form((SLUG_FIELD,), slug="acme")
    form.refuse("slug", "It is taken.")
    form.refuse("slug", "Another sentence.")
    assert (form["slug"], form.errors) == ("acme", {"slug": "It is taken."})


def test_only_fields_of_several_lines_keep_their_lines() -> None:
    lines = TextField("text", "Text", r".*", "Write text.", 20, lines=True)
    assert read_form({"text": ["a\r\n b\n"]}, (lines,))["text"] == "a\n b\n"
    assert read_form({"reason": ["a\nb"]}, (REASON_FIELD,)).errors == {"reason": REASON_FIELD.sentence}


def test_a_field_that_was_sent_twice_is_refused() -> None:
    with pytest.raises(BadRequest):
        read_form({"slug": ["acme", "globex"]}, (SLUG_FIELD,))
