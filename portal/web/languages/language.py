"""One language: translates messages, sentences and points in time for templates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from gettext import NullTranslations
from typing import Any

from babel import Locale
from babel.dates import format_date

from portal.sentences import Moment, Sentence, Wording
from portal.web.languages.problem_texts import ProblemTexts
from portal.web.languages.stored_texts import StoredTexts
from portal.web.markup import Markup, escaped

_MOST_DATES = 2_000
_MOST_MESSAGES = 5_000
_PLACEHOLDER = re.compile(r"%\((\w+)\)s")


class Language:
    """A language of the pages.

    Parameters: tag, of BCP 47, for `lang`; form, whose dates are used; translations, of the English messages;
    messages, those of them that have neither a plural nor a context: most texts, which are looked up at once;
    stored, those of texts that are stored in English; problems, those of `Wording`.
    """

    def __init__(
        self,
        tag: str,
        form: Locale,
        translations: NullTranslations,
        messages: Mapping[str, str],
        *,
        stored: Mapping[str, str],
        problems: Mapping[str, str],
    ) -> None:
        self.tag = tag
        self.form = form
        self.direction = form.text_direction
        self._translations = translations
        self._messages = messages
        self.stored_messages = stored
        self._stored = StoredTexts(stored)
        self._problems = ProblemTexts(problems, messages)

    @property
    def name(self) -> str:
        """The name of the language in itself."""
        return str(self.form.get_language_name()).capitalize()

    @cached_property
    def namespace(self) -> dict[str, Any]:
        """What templates use: `_`, `pgettext`, `html`, `stored` and `language`."""
        return {
            "_": self.text,
            "pgettext": self.text_in_context,
            "html": self.html,
            "stored": self.stored,
            "language": self,
        }

    def text(self, message: str, plural: str | None = None, count: int = 1) -> str | Markup:
        """Return a message, a `Sentence` or a `Moment` in this language.

        A `Moment`, and a sentence with one in it, becomes Markup with a `<time>` element, which
        static/times.js shows in the reader's zone. Anything that is not in the catalogue stays as it is.

        Parameters: plural and count, for a message that depends on a number.
        """
        if plural is not None:
            return self._translations.ngettext(message, plural, count)
        if type(message) is str:
            return self._messages.get(message, message)
        if type(message) is Moment:
            return self._moment(message)
        if type(message) is Wording:
            return self._problems.translate(message)
        return self._sentence(message) if type(message) is Sentence else message

    def text_in_context(self, context: str, message: str) -> str:
        """Return a message that has different translations. Parameters: context, which of them."""
        return self._translations.pgettext(context, message)

    def stored(self, text: str) -> str:
        """Return a text that was stored in English, such as a result of a live check, in this language."""
        return self._stored.translate(text)

    def html(self, message: str, /, **values: object) -> Markup:
        """Return a message that has tags. Parameters: message, from the catalogue; values, escaped here."""
        if not values:
            return Markup(message.encode())
        pieces = _pieces(message)
        return Markup(b"".join([escaped(values[one]) if isinstance(one, str) else one for one in pieces]))

    def _sentence(self, made: Sentence) -> str | Markup:
        if made.plural:
            pattern = self._translations.ngettext(made.pattern, made.plural, made.number)
        else:
            pattern = self._messages.get(made.pattern, made.pattern)
        if made.capital:
            pattern = pattern[:1].upper() + pattern[1:]
        if not made.values:
            return pattern
        values = {name: self._value(value) for name, value in made.values.items()}
        if not any(type(value) is Markup for value in values.values()):
            return pattern % values
        return self.html(escaped(pattern).decode(), **values)

    def _value(self, value: object) -> object:
        if isinstance(value, (Sentence, Moment, Wording)):
            return self.text(value)
        return value

    def _moment(self, made: Moment) -> Markup:
        seconds = int(made.seconds)
        return _time_element(self.form, seconds // 60 * 60 if made.dated else seconds, made.dated)


@lru_cache(maxsize=_MOST_MESSAGES)
def _pieces(message: str) -> tuple[str | bytes, ...]:
    """A message as HTML: its text in UTF-8 and the names of the values between, without `%(` and `)s`."""
    pieces = _PLACEHOLDER.split(message)
    return tuple(
        piece if number % 2 else piece.encode() for number, piece in enumerate(pieces) if number % 2 or piece
    )


@lru_cache(maxsize=_MOST_DATES)
def _time_element(form: Locale, seconds: int, dated: bool) -> Markup:
    at = datetime.fromtimestamp(seconds, UTC)
    if dated:
        text, kind = f"{format_date(at.date(), 'long', form)}, {at:%H:%M} UTC", "minute"
    else:
        text, kind = f"{at:%H:%M:%S} UTC", "second"
    machine = at.isoformat().replace("+00:00", "Z")
    return Markup(f'<time datetime="{machine}" data-time="{kind}">'.encode() + escaped(text) + b"</time>")


ENGLISH = Language("en-GB", Locale("en", "GB"), NullTranslations(), {}, stored={}, problems={})
"""The language of the messages in the source."""
