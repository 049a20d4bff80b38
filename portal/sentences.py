"""Sentences for people that a page can show in the reader's language.

A `Sentence` is its English text, for logs, programs and the command line. It also remembers the pattern and
the values that it was made of, so that `portal.web.languages` can translate it. A `Moment` is the same for a
point in time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache

_LATEST = datetime.max.replace(tzinfo=UTC, microsecond=0).timestamp()


class Sentence(str):
    """A text in English with the message that it was made of."""

    pattern: str
    """The message: English, with `%(name)s` for each value."""
    plural: str
    """The message for another count than one; empty when there is only one form."""
    number: int
    """Which form is meant."""
    values: Mapping[str, object]
    capital: bool
    """Whether the first letter is a capital one, in every language."""
    __slots__ = ("capital", "number", "pattern", "plural", "values")


class Wording(str):
    """A text in English that the portal put together of messages, such as a problem of a tenant file.

    Commands print the same, and forms change it, so it does not remember its messages: a page finds them
    again (`portal.web.languages.problem_texts`).
    """

    __slots__ = ()


class Moment(str):
    """A point in time, as text in UTC."""

    seconds: float
    """Since the epoch, UTC."""
    dated: bool
    """Whether the text has the date and minutes, or the time of day with seconds."""
    __slots__ = ("dated", "seconds")


def sentence(pattern: str, **values: object) -> Sentence:
    """Return a sentence, or `pattern` if it is one.

    Parameters: pattern, a literal in the source or a `message`, with `%(name)s` for each value.
    """
    if isinstance(pattern, Sentence):
        return pattern
    return _made(pattern, "", 1, values)


def plural_sentence(pattern: str, plural: str, count: int, **values: object) -> Sentence:
    """As `sentence`, for a number of things; `%(count)s` is the number."""
    return _made(pattern, plural, count, {"count": count, **values})


def capitalized(text: str) -> Sentence:
    """Return a text with a capital first letter. Parameters: text, a `Sentence` or a message."""
    source = text if isinstance(text, Sentence) else _made(text, "", 1, {})
    made = Sentence(text[:1].upper() + text[1:])
    made.pattern, made.plural, made.number, made.values = (
        source.pattern,
        source.plural,
        source.number,
        source.values,
    )
    made.capital = True
    return made


def listed(texts: Sequence[str]) -> Sentence:
    """Return sentences or messages with commas between them."""
    made = sentence(texts[0]) if texts else sentence("")
    for text in texts[1:]:
        made = sentence("%(before)s, %(next)s", before=made, next=sentence(text))
    return made


def message(text: str) -> str:
    """Return the text. Marks a text without values for the catalogues; a page translates it by itself."""
    return text


def _made(pattern: str, plural: str, number: int, values: Mapping[str, object]) -> Sentence:
    english = plural if plural and number != 1 else pattern
    made = Sentence(english % values if values else english)
    made.pattern, made.plural, made.number, made.values, made.capital = pattern, plural, number, values, False
    return made


def moment(seconds: float, *, date: bool = False) -> Moment:
    """Return seconds since the epoch as text in UTC, up to the year 9999.

    Parameters: date, whether the text has the date.
    """
    bounded = min(max(seconds, 0.0), _LATEST)
    made = Moment(_minute_text(int(bounded // 60)) if date else _second_text(bounded))
    made.seconds, made.dated = bounded, date
    return made


def _second_text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S UTC")


@lru_cache(maxsize=1_000)
def _minute_text(minute: int) -> str:
    """Date and time of a minute since the epoch."""
    return datetime.fromtimestamp(60 * minute, UTC).strftime("%-d %B %Y, %H:%M UTC")
