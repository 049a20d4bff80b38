"""What is known about a kind of provider and helps to correct a mistake.

The live checks know nothing else of presets: whoever calls them passes a guide for each provider.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Guide:
    """How one kind of provider is called, where its console has what, and what to do about its errors."""

    title: str = "the provider"
    places: Mapping[str, str] = field(default_factory=dict)
    """Where its console has the setting that belongs to a key of the tenant file: `issuer`, `client.id`,
    `client.secret`, `client.auth`, `scopes` and so on; or to one that only the provider has: `redirect_uri`
    for the registered redirect URIs, `pkce`, `client` for its other settings."""
    error_advice: Callable[[str], str | None] | None = None
    """Returns what to do about `code: description` of this provider; None if it is not known."""

    def advice(self, error: str, description: str = "") -> str:
        """Return what to do about an error that the provider stated; empty if it is not known."""
        return (self.error_advice(f"{error}: {description}") if self.error_advice else None) or ""

    def place(self, key: str) -> str:
        """Return where the provider's console has what belongs to a key; empty if it is not known."""
        found = self.places.get(key)
        return f"{self.title}: {found}" if found else ""


GENERAL = Guide()
"""For a provider about which nothing is known."""
