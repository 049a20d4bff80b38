"""What is known about a kind of provider and helps to correct a mistake.

The live checks know nothing else of presets: whoever calls them passes a guide for each provider.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Guide:
    """How one kind of provider is called, where its console has what, and its known mistakes."""

    title: str = "the provider"
    places: Mapping[str, str] = field(default_factory=dict)
    """Where its console has the setting that belongs to a key of the tenant file, such as `client.secret`;
    `redirect_uri` for the registered redirect URIs."""
    mistakes: tuple[tuple[re.Pattern[str], str], ...] = ()
    """Text in an error of this provider, and what to do."""

    def advice(self, error: str) -> str:
        """Return what to do about an error that the provider stated; empty if it is not known."""
        return next((advice for pattern, advice in self.mistakes if pattern.search(error)), "")

    def place(self, key: str) -> str:
        """Return where the provider's console has what belongs to a key; empty if it is not known."""
        found = self.places.get(key)
        return f"{self.title}: {found}" if found else ""


GENERAL = Guide()
