"""The form for the applications that a tenant's page leads to: the main one, and a list of links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from portal.admin.list_editing import set_entries
from portal.admin.provider_form import Asked

LINKS = "links"
MOST_LINKS = 20
HOME_FIELD = Asked(
    "home-url",
    "Main application",
    ("home_url",),
    help="Where the organisation's page leads first: an https URL, or a path of the portal such as "
    "/desk/example/.",
    example="https://desk.example.com/",
)
LINK_FIELDS = (
    Asked("title", "Title", ("title",), help="As users see it.", example="Order desk", optional=False),
    Asked(
        "url",
        "Address",
        ("url",),
        help="An https URL, or a path of the portal.",
        example="https://orders.example.com/",
        optional=False,
    ),
    Asked(
        "description",
        "Description",
        ("description",),
        help="What it is for, in one sentence.",
        example="Place and follow orders.",
    ),
)
"""The fields of one link."""
_SAME = ("url", "title")
"""What a link is recognized by after it was changed."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link as the form asks for it."""

    title: str = ""
    url: str = ""
    description: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was typed."""
        return not (self.title or self.url or self.description)

    def value(self) -> dict[str, object]:
        """The entry of a content: without the keys that have no value."""
        named = {"title": self.title, "url": self.url, "description": self.description}
        return {key: text for key, text in named.items() if text}


def links_in(root: Mapping[str, object]) -> tuple[Link, ...] | None:
    """The links of a content; None: the form cannot show them, and they are left alone."""
    found = root.get(LINKS)
    if found is None:
        return ()
    if not isinstance(found, list) or len(found) > MOST_LINKS:
        return None
    links = [_link(one) for one in found]
    return None if None in links else tuple(one for one in links if one is not None)


def _link(value: object) -> Link | None:
    known = {one.key[0] for one in LINK_FIELDS}
    if not isinstance(value, Mapping) or not value.keys() <= known:
        return None
    texts = {key: text for key, text in value.items() if isinstance(text, str) and "\n" not in text}
    return Link(**texts) if len(texts) == len(value) else None


def with_links(content: str, links: Sequence[Link], slug: str) -> str:
    """Return a content with these links in place of its own; their text and comments stay where they can.

    Parameters: slug, of the tenant, for messages. Raises: ConfigurationError.
    """
    entries = [one.value() for one in links if not one.is_empty]
    return set_entries(content, LINKS, entries, same=_SAME, name=slug)
