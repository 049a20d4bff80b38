"""Sentences are English text that remembers how it was made."""

from __future__ import annotations

from portal.sentences import capitalized, listed, message, moment, plural_sentence, sentence

AT = 1_763_820_180.0
"""22 November 2025, 14:03 UTC."""


def test_a_sentence_is_its_english_text() -> None:
    made = sentence("Tested by %(who)s on %(at)s.", who="Ada", at=moment(AT, date=True))
    assert made == "Tested by Ada on 22 November 2025, 14:03 UTC."
    assert made.pattern == "Tested by %(who)s on %(at)s."


def test_a_number_chooses_the_form() -> None:
    forms = "One login ended.", "%(count)s logins ended."
    assert [plural_sentence(*forms, number) for number in (0, 1, 2)] == [
        "0 logins ended.",
        "One login ended.",
        "2 logins ended.",
    ]


def test_a_percent_sign_without_values_stays() -> None:
    assert sentence("100 % done") == "100 % done"


def test_a_sentence_of_a_sentence_is_the_same() -> None:
    made = sentence("%(count)s failed", count=2)
    assert sentence(made) is made


def test_texts_are_listed_and_capitalized() -> None:
    assert listed([message("one"), message("two"), message("three")]) == "one, two, three"
    assert listed([]) == ""
    assert capitalized(sentence("the last contact failed: %(why)s", why="x")) == "The last contact failed: x"


def test_a_time_beyond_the_year_9999_is_the_latest() -> None:
    assert moment(1e20, date=True) == "31 December 9999, 23:59 UTC"
    assert moment(-5.0) == "00:00:00 UTC"
