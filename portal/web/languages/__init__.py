"""The languages of the pages: catalogues, the choice for each request, and dates in the reader's form."""

from portal.web.languages.language import ENGLISH, Language
from portal.web.languages.languages import Languages, load_languages

__all__ = ["ENGLISH", "Language", "Languages", "load_languages"]
