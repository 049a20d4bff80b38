"""URLs that a server states: they may be anything, also what cannot be read as a URL."""

from __future__ import annotations

from urllib.parse import SplitResult, parse_qs, urljoin, urlsplit

LONGEST = 16_384
_NOTHING = SplitResult("", "", "", "", "")
_MOST_PARAMETERS = 50


def split_stated(url: str) -> SplitResult:
    """Return the parts of a URL; all of them empty if it cannot be read."""
    try:
        return urlsplit(url[:LONGEST])
    except ValueError:
        return _NOTHING


def redirect_target(url: str, location: str | None) -> str:
    """Return the absolute target of a redirect (RFC 9110 10.2.2); empty if it cannot be read.

    Parameters: url, of the request; location, of the response.
    """
    try:
        return urljoin(url, location[:LONGEST]) if location else ""
    except ValueError:
        return ""


def same_address(one: str, other: str) -> bool:
    """Whether two URLs are equal without query and fragment."""
    first = split_stated(one)
    return first != _NOTHING and first[:3] == split_stated(other)[:3]


def parameters_of(url: str) -> dict[str, str]:
    """Return the first value of each parameter of query and fragment; none if there are too many."""
    parts = split_stated(url)
    try:
        found = {
            **parse_qs(parts.fragment, max_num_fields=_MOST_PARAMETERS),
            **parse_qs(parts.query, max_num_fields=_MOST_PARAMETERS),
        }
    except ValueError:
        return {}
    return {name: values[0] for name, values in found.items()}
