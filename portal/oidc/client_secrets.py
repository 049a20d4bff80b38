"""The secrets of a client that has two of them, while one replaces the other.

No specification describes it; providers such as Entra, Okta and Auth0 let a client have two valid secrets, so
that the new one can be put into use before the old one is deleted. Which of the two the provider accepts is
learned from its responses.
"""

from __future__ import annotations

from portal.secret import Secret


class SecretOrder:
    """In which order the secrets of a client are sent: first the one that the provider accepted last.

    It lasts as long as the `Provider` that has it, so a tenant that is loaded again begins with the order of
    its file. Each process learns on its own.

    Parameters: first and second, as the tenant file lists them.
    """

    __slots__ = ("_accepted", "_configured")

    def __init__(self, first: Secret, second: Secret) -> None:
        self._configured = (first, second)
        self._accepted = first

    def secrets(self) -> tuple[Secret, Secret]:
        """Return both, the one to send first at the beginning."""
        first, second = self._configured
        return (first, second) if self._accepted is first else (second, first)

    def accepted(self, secret: Secret) -> None:
        """The provider has authenticated the client with this one of the two."""
        self._accepted = secret
