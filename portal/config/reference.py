"""Reference pages generated from the models of configuration files, so that they match the code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

Schema = Mapping[str, Any]


NOTE = "<!-- Made by `{command}` from the descriptions in the code; change those, not this page. -->"


@dataclass(frozen=True, slots=True)
class Column:
    """One more column of every table."""

    title: str
    cell: Callable[[str], str]
    """Its text for a key; keys inside others are written with dots."""


class PlainSchema(GenerateJsonSchema):
    """JSON Schema without generated titles, and without `null`: an optional key is omitted instead."""

    def nullable_schema(self, schema: Any) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        made = super().default_schema(schema)
        if made.get("default", ...) is None:
            del made["default"]
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        made = super().model_schema(schema)
        made.pop("title", None)
        return made


def reference(
    model: type[BaseModel], *, title: str, command: str, introduction: str, column: Column | None = None
) -> str:
    """Return the reference of a file with this model, in Markdown.

    Parameters: command, which generates the page.
    """
    lines = [f"# {title}", "", NOTE.format(command=command), "", introduction, "", *sections(model, column)]
    return "\n".join(lines).rstrip() + "\n"


def sections(model: type[BaseModel], column: Column | None = None) -> Iterator[str]:
    root = model.model_json_schema(schema_generator=PlainSchema)
    definitions = root.get("$defs", {})
    yield from _table(root, definitions, column)
    yield from _sections_below(root, definitions, above="", described={}, column=column)


def added_keys(model: type[BaseModel], base: type[BaseModel]) -> Iterator[str]:
    """Yield the lines of a table with the keys that a model has in addition to another."""
    root = model.model_json_schema(schema_generator=PlainSchema)
    own = {key: field for key, field in root["properties"].items() if key not in base.model_fields}
    yield from _table({**root, "properties": own}, root.get("$defs", {}), None)


def _sections_below(
    holder: Schema, definitions: Schema, *, above: str, described: dict[int, str], column: Column | None
) -> Iterator[str]:
    """A table for each key that is a mapping or a list of mappings, recursively; each mapping once."""
    for key, schema in holder["properties"].items():
        inner = _mapping_of(schema, definitions)
        if inner is None:
            continue
        known = described.setdefault(id(inner), name := f"{above}{key}")
        if known != name:
            yield from (f"## {name}", "", f"As [{known}](#{known.replace('.', '')}).", "")
            continue
        yield from (f"## {name}", "", str(inner.get("description", "")).split("\n", maxsplit=1)[0], "")
        yield from _table(inner, definitions, column, above=f"{name}.")
        yield from _sections_below(inner, definitions, above=f"{name}.", described=described, column=column)


def _table(schema: Schema, definitions: Schema, column: Column | None, *, above: str = "") -> Iterator[str]:
    more = [] if column is None else [column.title]
    yield " | ".join(["| key | value | default", *more, "|"])
    yield "|---|---|---|---|" + "---|" * len(more)
    required = schema.get("required", ())
    for key, field in schema["properties"].items():
        name = f"**`{key}`**" if key in required else f"`{key}`"
        meaning = field.get("description") or _referred(field, definitions).get("description", "")
        own = () if column is None else (column.cell(f"{above}{key}"),)
        cells = (name, _kind(field, definitions), _default(field), *own, meaning)
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"
    yield ""


def _referred(schema: Schema, definitions: Schema) -> Schema:
    """Return the schema itself, or the one it refers to."""
    found: Schema = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def _mapping_of(schema: Schema, definitions: Schema) -> Schema | None:
    """Return the schema of the mapping that a field is, or is a list of."""
    found = _referred(schema, definitions)
    if found.get("type") == "array":
        found = _referred(found["items"], definitions)
    if "anyOf" in found:
        found = _referred(found["anyOf"][-1], definitions)
    return found if "properties" in found else None


def _kind(schema: Schema, definitions: Schema) -> str:
    found = _referred(schema, definitions)
    if "title" in found:
        return str(found["title"])
    if "enum" in found:
        return ", ".join(f"`{value}`" for value in found["enum"])
    if found.get("type") == "array":
        return f"list of: {_kind(found['items'], definitions)}"
    if found.get("type") == "object":
        return "mapping" if "properties" in found else "mapping of text"
    return {"boolean": "true, false", "integer": "number"}.get(str(found.get("type")), "text")


def _default(schema: Schema) -> str:
    default = schema.get("default")
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, list):
        return f"`[{', '.join(default)}]`"
    return f"`{default}`" if isinstance(default, str | int) else ""
