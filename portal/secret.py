"""A value that must not be printed."""

from __future__ import annotations


class Secret:
    """Wraps a client secret or a token so that no log line, traceback or repr shows it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value; call it only to send the value to the party that it belongs to."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class UnsetSecret(Secret):
    """Stands for a secret whose environment variable or file is missing: to check a file without its secret.

    It must not be sent: `reveal` returns a text of no meaning, long enough for every rule of a tenant file.
    Parameters: source, what should have the secret; state, what is wrong with it; both in words.
    """

    __slots__ = ("source", "state")

    def __init__(self, source: str, state: str = "is not set") -> None:
        super().__init__(f"{source} {state}, and should have this secret")
        self.source = source
        self.state = state
