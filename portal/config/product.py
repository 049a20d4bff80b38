"""The operator's own product in the settings: its name, logo and colour, and where users find help."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, WithJsonSchema

from portal.config.field_types import Color, Name, Text, expected, refused
from portal.config.logo_content import Logo, LogoRefused
from portal.config.logo_file import LARGEST_LOGO, read_logo
from portal.config.validation import FileModel
from portal.config.yaml_document import KeyPath
from portal.errors import ConfigurationError, Problem

DEFAULT_NAME = "Tenant Portal"

_LOGO = ("product", "logo")
_EMAIL = re.compile(
    r"[A-Za-z0-9._+'-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}"
)
_NOT_IN_LINKS = re.compile(r'[\x00-\x20\x7f<>"\\^`{|}]|[^\x00-\x7f]')  # RFC 3986 2
_LONGEST_LINK = 500


@dataclass(frozen=True, slots=True)
class Product:
    """What the pages show of the operator's product."""

    name: str = DEFAULT_NAME
    logo: Logo | None = None
    color: str | None = None
    """`#rrggbb`."""
    support_url: str | None = None
    support_email: str | None = None
    legal_url: str | None = None


def _link(text: str) -> str:
    if _NOT_IN_LINKS.search(text) or len(text) > _LONGEST_LINK:
        raise refused('must be a URL of ASCII characters, without spaces or any of < > " \\ ^ ` { | }')
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in ("https", "http") or "@" in parts.netloc:
        raise expected("a URL that begins with https:// (or http://), such as https://help.example.com/")
    return text


def _email(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise expected("an e-mail address such as help@example.com")
    return text


_URL = WithJsonSchema({"type": "string", "title": "URL", "format": "uri", "pattern": "^https?://"})
_ADDRESS = WithJsonSchema({"type": "string", "title": "e-mail address", "format": "email"})
Link = Annotated[str, AfterValidator(_link), _URL]
EmailAddress = Annotated[str, AfterValidator(_email), _ADDRESS]


class ProductFile(FileModel):
    """What the pages show of your own product in place of the portal's."""

    name: Name = Field(default=DEFAULT_NAME, description="The product's name, in titles and the header.")
    logo: Text | None = Field(
        default=None,
        description=(
            f"An SVG, PNG, WebP or JPEG file, at most {LARGEST_LOGO // 1024} KB and four times as wide as "
            "high; read at start-up. Shown 32 pixels high on white, and as the icon of the browser's tab."
        ),
    )
    color: Color | None = Field(
        default=None,
        description=(
            "The colour of the header and of primary buttons, such as `#1f6feb`; links have it as well, "
            "darker or lighter where their contrast needs it."
        ),
    )
    support_url: Link | None = Field(
        default=None, description="A page where users find help; linked in the footer and on error pages."
    )
    support_email: EmailAddress | None = Field(
        default=None, description="Where users ask for help; linked in the footer and on error pages."
    )
    legal_url: Link | None = Field(
        default=None, description="A page of legal information, such as terms; linked in the footer."
    )


def product_of(file: ProductFile, folder: Path, place: Callable[[KeyPath, bool], str]) -> Product:
    """Return the product of the settings, with its logo.

    Parameters: folder, to which the path of the logo is relative; place, of a value in the settings.
    Raises: ConfigurationError when the logo cannot be used.
    """
    try:
        logo = read_logo(folder / file.logo) if file.logo else None
    except LogoRefused as error:
        raise ConfigurationError([Problem(place(_LOGO, False), f"product.logo {error}")]) from None
    return Product(
        name=file.name,
        logo=logo,
        color=file.color,
        support_url=file.support_url,
        support_email=file.support_email,
        legal_url=file.legal_url,
    )
