"""The cookie by which a browser is recognized as the one that a setup link is bound to."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, replace

from portal.secret import Secret

MOST_LINKS = 4
"""Setup links that a browser remembers; the one that was opened longest ago is forgotten."""
_SEPARATOR = "~"
_ENTRY = re.compile(r"([0-9a-f]{64})\.([A-Za-z0-9_-]{43})\.([0-9]{10})")
_LONGEST = MOST_LINKS * 120


def digest(value: str) -> str:
    """SHA-256 of a token or of a browser's secret, in hex: the form in the database."""
    return hashlib.sha256(value.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class BrowserLink:
    """A setup link in the cookie: the hash of its token, and this browser's secret for it.

    The secret is made when the browser shows the page of the link, before the link is bound: when the button
    is pressed twice, both requests have the same one.
    """

    token_hash: str
    secret: Secret
    expires_at: float
    """When the link expires, in seconds, UTC."""

    @classmethod
    def new(cls, token_hash: str, expires_at: float) -> BrowserLink:
        """Make the entry of a link that this browser does not have yet, with a new 256-bit secret."""
        return cls(token_hash, Secret(secrets.token_urlsafe(32)), expires_at)

    @property
    def browser_hash(self) -> str:
        """The hash of the secret, which the database keeps of the browser that opened the link."""
        return digest(self.secret.reveal())

    def is_bound(self, browser_hash: str) -> bool:
        """Whether the link with this `browser_hash` is bound to this browser; takes constant time."""
        return hmac.compare_digest(self.browser_hash, browser_hash)


@dataclass(frozen=True, slots=True)
class SetupCookie:
    """The setup links of a browser; the first is the one that it uses."""

    links: tuple[BrowserLink, ...] = ()

    @classmethod
    def parse(cls, value: str | None) -> SetupCookie:
        """Read the value of the cookie; one that is missing or malformed has no links."""
        if not value or len(value) > _LONGEST:
            return cls()
        found = [_ENTRY.fullmatch(entry) for entry in value.split(_SEPARATOR)]
        links = [BrowserLink(one[1], Secret(one[2]), float(one[3])) for one in found if one is not None]
        return cls(tuple(links[:MOST_LINKS]))

    @property
    def current(self) -> BrowserLink | None:
        """The link that the browser uses."""
        return self.links[0] if self.links else None

    def find(self, token_hash: str) -> BrowserLink | None:
        """The entry of a link, or None."""
        return next((link for link in self.links if link.token_hash == token_hash), None)

    def with_shown(self, link: BrowserLink) -> SetupCookie:
        """The cookie after the page of a link was shown; the link that is used stays the same."""
        if self.find(link.token_hash) is not None:
            return self
        return SetupCookie((*self.links[: MOST_LINKS - 1], link))

    def with_used(self, link: BrowserLink) -> SetupCookie:
        """The cookie after a link was opened: it is the one that is used from now on."""
        others = [one for one in self.links if one.token_hash != link.token_hash]
        return SetupCookie((link, *others)[:MOST_LINKS])

    def value(self) -> Secret:
        """The value of the cookie."""
        entries = (
            f"{link.token_hash}.{link.secret.reveal()}.{int(link.expires_at):010d}" for link in self.links
        )
        return Secret(_SEPARATOR.join(entries))

    def live(self, now: float) -> SetupCookie:
        """The cookie without links that have expired."""
        return replace(self, links=tuple(link for link in self.links if link.expires_at > now))

    def max_age(self, now: float) -> int:
        """Until the last of its links expires, in seconds."""
        return max((int(link.expires_at - now) for link in self.links), default=0)
