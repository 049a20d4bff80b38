"""Type checks of the stores' arguments: values that select entries must be text, never a query operator."""

from __future__ import annotations

from collections.abc import Collection


def require_text(**values: object) -> None:
    """Raise TypeError unless every value is a str; the message names the argument, never its value."""
    for name, value in values.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} must be text, not {type(value).__name__}")


def require_texts(name: str, values: Collection[object]) -> None:
    """Raise TypeError unless `values` is a collection of str."""
    if isinstance(values, str):
        raise TypeError(f"{name} must be a collection of texts")
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"{name} must hold text, not {type(value).__name__}")
