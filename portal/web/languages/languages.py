"""All languages of the pages, and which one a request gets."""

from __future__ import annotations

from collections.abc import Iterable
from gettext import GNUTranslations
from io import BytesIO
from pathlib import Path

from babel import Locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from portal.web.languages.choice import accepted_tags, requested_tags
from portal.web.languages.language import ENGLISH, Language

STORED = "check"
"""The context of messages whose texts are stored: results of the live checks."""
PROBLEM = "problem"
"""The context of messages that a `Wording` is made of."""
LOCALES = Path(__file__).parent / "locale"


class Languages:
    """The languages by their tags. The first one is for everybody who asks for none of them."""

    def __init__(self, languages: Iterable[Language]) -> None:
        self.all = tuple(languages)
        self._by_tag = {one.tag.lower(): one for one in self.all}
        self._by_tag |= {one.tag.lower().partition("-")[0]: one for one in self.all}

    def find(self, tags: Iterable[str]) -> Language | None:
        """Return the language of the first tag that is known, or whose beginning is (RFC 4647 3.4)."""
        for tag in tags:
            found = self._by_tag.get(tag) or self._by_tag.get(tag.partition("-")[0])
            if found is not None:
                return found
        return None

    def requested(self, accept_language: str, *, ui_locales: str = "", chosen: str = "") -> Language | None:
        """Return the language that a request asks for; None when it asks for none of these.

        Parameters: accept_language, the header (RFC 9110 12.5.4); ui_locales, of the query (OIDC Core
        3.1.2.1); chosen, the tag that the reader chose before. The first that names a known language counts,
        in the order `ui_locales`, `chosen`, `accept_language`.
        """
        if ui_locales and (found := self.find(requested_tags(ui_locales))) is not None:
            return found
        if chosen and (found := self.find(requested_tags(chosen))) is not None:
            return found
        return self.find(accepted_tags(accept_language))


def load_languages() -> Languages:
    """Read the catalogues, at start-up."""
    return Languages([ENGLISH, *(_read(path) for path in sorted(LOCALES.glob("*.po")))])


def _read(path: Path) -> Language:
    """Return the language of a catalogue; its name is the tag."""
    with path.open("rb") as file:
        catalog = read_po(file, locale=path.stem.replace("-", "_"))
    compiled = BytesIO()
    write_mo(compiled, catalog)
    compiled.seek(0)
    plain: dict[str | None, dict[str, str]] = {None: {}, STORED: {}, PROBLEM: {}}
    for one in catalog:
        if isinstance(one.id, str) and isinstance(one.string, str) and one.id and one.string:
            plain.setdefault(one.context, {})[one.id] = one.string
    form = Locale.parse(path.stem, sep="-")
    return Language(
        path.stem, form, GNUTranslations(compiled), plain[None], stored=plain[STORED], problems=plain[PROBLEM]
    )
