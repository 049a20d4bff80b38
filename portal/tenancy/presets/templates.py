"""Values of preset files with placeholders such as `{domain}`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")

Values = Mapping[str, str]


def fill(template: object, values: Values) -> object | None:
    """Return a template with its placeholders replaced; None if text in it has a placeholder without a value.

    In lists and mappings, only the entries that lack a value are left out.
    """
    if isinstance(template, str):
        return fill_text(template, values)
    if isinstance(template, list):
        return [one for one in (fill(entry, values) for entry in template) if one is not None]
    if isinstance(template, Mapping):
        filled = {key: fill(entry, values) for key, entry in template.items()}
        return {key: one for key, one in filled.items() if one is not None}
    return template


def fill_text(template: str, values: Values) -> str | None:
    """As `fill`, for text."""
    if any(name not in values for name in placeholders(template)):
        return None
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def fill_known(template: str, values: Values) -> str:
    """Return text with the placeholders that have a value replaced, and the others kept."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), template)


def placeholders(template: object) -> set[str]:
    """Return the names of the placeholders in a template."""
    return set(_placeholders(template))


def _placeholders(template: object) -> Iterator[str]:
    if isinstance(template, str):
        yield from _PLACEHOLDER.findall(template)
    elif isinstance(template, list):
        for entry in template:
            yield from _placeholders(entry)
    elif isinstance(template, Mapping):
        for entry in template.values():
            yield from _placeholders(entry)


def merged(defaults: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
    """Return `given` with the keys of `defaults` that it lacks, also within mappings that both have."""
    result = {**defaults, **given}
    for key in defaults.keys() & given.keys():
        default, value = defaults[key], given[key]
        if isinstance(default, Mapping) and isinstance(value, Mapping):
            result[key] = merged(default, value)
    return result


def value_at(mapping: object, path: Sequence[str]) -> object:
    """Return the value at a path of keys; None if there is none."""
    for key in path:
        mapping = mapping.get(key) if isinstance(mapping, Mapping) else None
    return mapping


def put(mapping: dict[str, object], path: Sequence[str], value: str) -> None:
    """Put a value at a path of keys, and make the mappings that lead to it."""
    for key in path[:-1]:
        inner = mapping.setdefault(key, {})
        if not isinstance(inner, dict):
            raise TypeError(f"a value is at a part of the path {'.'.join(path)}")
        mapping = inner
    mapping[path[-1]] = value
