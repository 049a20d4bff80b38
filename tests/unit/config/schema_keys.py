"""The keys of a file, and values that they can have, from the JSON Schema of its model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from portal.config.reference import PlainSchema

Schema = Mapping[str, Any]

ANY_NAME = "*"
"""In the path of a key: a name that the author of the file chooses."""
ENTRY = "[]"
"""In the path of a key: an entry of a list."""

_BY_TITLE = {
    "duration": ["2m", "11h"],
    "URL": ["https://second.acme.example/path"],
    "host name": ["second.acme.example"],
    "domain": ["second.acme.example"],
}


@dataclass(frozen=True, slots=True)
class Key:
    """A key that holds a value, not other keys. `values` are those that its schema lets one guess."""

    path: tuple[str, ...]
    values: tuple[object, ...]

    @property
    def name(self) -> str:
        """As messages write it: `access.paths[].path`, `providers.*.label`."""
        return ".".join(self.path).replace(f".{ENTRY}", ENTRY)


def keys_of(model: type[BaseModel]) -> list[Key]:
    """Every key of a file that follows `model`, those of nested mappings and lists included."""
    root = model.model_json_schema(schema_generator=PlainSchema)
    return list(_keys(root, root.get("$defs", {}), ()))


def _keys(holder: Schema, definitions: Schema, above: tuple[str, ...]) -> Iterator[Key]:
    for name, written in holder["properties"].items():
        schema = _resolved(written, definitions)
        inner, steps = _inner(schema, definitions)
        if "properties" in inner:
            yield from _keys(inner, definitions, (*above, name, *steps))
        else:
            yield Key((*above, name), tuple(_values(schema, definitions)))


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    if "$ref" not in schema:
        return schema
    return {**definitions[schema["$ref"].rpartition("/")[2]], **schema, "$ref": ""}


def _inner(schema: Schema, definitions: Schema) -> tuple[Schema, tuple[str, ...]]:
    """What is inside of lists, mappings by name and alternatives, and the steps that lead there."""
    if "anyOf" in schema:
        return _inner(_resolved(schema["anyOf"][-1], definitions), definitions)
    if "items" in schema:
        inner, steps = _inner(_resolved(schema["items"], definitions), definitions)
        return inner, (ENTRY, *steps)
    if "properties" not in schema and schema.get("type") == "object":
        inner, steps = _inner(_resolved(_of_any_name(schema), definitions), definitions)
        return inner, (ANY_NAME, *steps)
    return schema, ()


def _of_any_name(schema: Schema) -> Schema:
    """The schema of what a mapping holds by names that the file chooses."""
    of_names: Schema = schema.get("patternProperties") or {"": schema["additionalProperties"]}
    return next(iter(of_names.values()))


def _values(schema: Schema, definitions: Schema) -> Iterator[object]:
    yield from schema.get("examples", ())
    if "const" in schema:
        yield schema["const"]
    yield from schema.get("enum", ())
    for one in schema.get("anyOf", ()):
        yield from _values(_resolved(one, definitions), definitions)
    kinds = schema.get("type", ())
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        yield from _values_of_kind(kind, schema, definitions)


def _values_of_kind(kind: str, schema: Schema, definitions: Schema) -> Iterator[object]:
    if kind == "boolean":
        yield from (True, False)
    elif kind == "integer":
        yield from (schema.get("minimum", 0) + 1, schema.get("minimum", 0) + 2)
    elif kind == "string":
        yield from _BY_TITLE.get(schema.get("title", ""), ["second"])
    elif kind == "array":
        yield from ([value] for value in _values(_resolved(schema["items"], definitions), definitions))
    elif kind == "object":
        inner = _resolved(_of_any_name(schema), definitions)
        yield from ({"second": value} for value in _values(inner, definitions))
