"""Turns validation errors of pydantic into problems that a person can act on.

Each problem names the place, the kind of value found, the expected value and, for a misspelt word, the
nearest valid one.

**No message quotes a file**: a secret may be in the wrong place, and messages go to logs, terminals and
tickets. A message consists of the portal's own words: keys and values of the schema, kinds of values, counts;
`<name>` replaces a key that the author of the file chose. The place identifies the rest. The one exception is
a word that differs in at most two letters from a word of the schema (`_misspelt`). Validators follow the same
rule (see `expected` and `refused` in field_types.py). tests/security/test_message_threats.py puts a secret
into every place of a tenant file and searches all output for it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from portal.config.yaml_document import MAX_PROBLEMS, KeyPath, describe
from portal.errors import ConfigurationError, Problem

Model = TypeVar("Model", bound=BaseModel)
Place = Callable[[KeyPath, bool], str]
"""Returns the place of the value at a path; with True, the place of its key."""


class FileModel(BaseModel):
    """A mapping in a file: unknown keys are errors and nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_ADVICE = {
    "hd": 'unknown key; did you mean "hosted_domain"?',
    "prompt": "write it as authorize_params: {prompt: login}",
}
_REGISTERED = frozenset(
    {
        "redirect_uri",
        "redirect_uris",
        "post_logout_redirect_uri",
        "post_logout_redirect_uris",
        "backchannel_logout_uri",
        "backchannel_logout_session_required",
        "frontchannel_logout_uri",
        "frontchannel_logout_session_required",
        "initiate_login_uri",
    }
)
"""Client metadata, which is registered at the provider (RFC 7591 2)."""
_WORDS = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_LIMITS = {
    "too_long": ("have at most %(max_length)s entries", "actual_length"),
    "too_short": ("have at least %(min_length)s entry", "actual_length"),
    "greater_than_equal": ("be at least %(ge)s", ""),
    "less_than_equal": ("be at most %(le)s", ""),
}


def validate(
    model: type[Model],
    root: Mapping[str, object],
    *,
    place: Place,
    context: object = None,
    allow_null: bool = False,
) -> Model:
    """Return `root` as `model`.

    Parameters: place, returns the place of a value; context, for the validators; allow_null, whether a key
    may be without a value.
    Raises: ConfigurationError with every problem.
    """
    empty = set() if allow_null else set(islice(_empty_paths(root), MAX_PROBLEMS))
    problems = [
        Problem(
            place(path, True),
            f"{_dotted(model, path)} has no value; leave it out, or quote what begins with #",
            path,
        )
        for path in empty
    ]
    try:
        made = model.model_validate(root, context=context)
    except ValidationError as error:
        found = [one for one in error.errors(include_url=False) if _path(one["loc"]) not in empty]
        problems += [_translate(model, details, place) for details in found[:MAX_PROBLEMS]]
    else:
        if not problems:
            return made
    problems.sort(key=_reading_order)
    raise ConfigurationError(problems[:MAX_PROBLEMS])


def nearest(word: str, words: Collection[str]) -> str:
    """Return `; did you mean "…"?` with the closest of `words`, or a list of all when none is close."""
    by_fold = {one.casefold(): one for one in words}
    close = difflib.get_close_matches(word.casefold()[:100], list(by_fold), n=1, cutoff=0.6)
    if close:
        return f'; did you mean "{by_fold[close[0]]}"?'
    return f"; expected one of: {', '.join(words)}" if words else ""


def _misspelt(word: str, words: Collection[str]) -> bool:
    """Whether a word shares, in order, all letters but two, and at least two thirds, with a valid word."""
    for valid in words if word.isprintable() else ():
        longer = max(len(word), len(valid))
        blocks = difflib.SequenceMatcher(None, word[:100].casefold(), valid.casefold()).get_matching_blocks()
        alike = sum(block.size for block in blocks)
        if longer - alike <= 2 and alike * 3 >= longer * 2:
            return True
    return False


def _translate(model: type[BaseModel], details: Any, place: Place) -> Problem:
    kind, context = details["type"], details.get("ctx", {})
    path = _path(details["loc"])
    of_key = details["loc"][-1:] == ("[key]",)
    if kind == "extra_forbidden":
        return Problem(place(path, True), _unknown_key(model, path), path)
    if kind == "missing":
        return Problem(place(path, True), _missing_key(model, path), path)
    if kind == "refused":
        if context["key"]:
            path = (*path, context["key"])
        return Problem(place(path, of_key), f"{_dotted(model, path)} {context['sentence']}", path)
    message = f"{_dotted(model, path)} {_expectation(kind, context, details)}"
    return Problem(place(path, of_key), message, path)


def _expectation(kind: str, context: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    value = details["input"]
    if kind in _WORDS:
        return f"must be {_WORDS[kind]}, found {describe(value)}{_form(kind, value)}"
    if kind == "literal_error":
        return _one_of(value, re.findall(r"'([^']*)'", context["expected"]))
    if kind == "unknown_word":
        return _one_of(value, context["words"])
    if kind in _LIMITS:
        limit, count = _LIMITS[kind]
        found = f", found {context[count]}" if count else ""
        return f"must {limit % context}{found}"
    if kind == "expected":
        return f"must be {context['what']}, found {describe(value)}"
    return f"cannot be used ({kind})"


def _one_of(value: object, words: Sequence[str]) -> str:
    hint = nearest(value, words) if isinstance(value, str) else ""
    every = ", ".join(words) + ("" if hint.startswith("; expected") else hint)
    if isinstance(value, str) and _misspelt(value, words):
        return f'is "{value}"; expected one of: {every}'
    return f"must be one of: {every}"


def _form(kind: str, value: object) -> str:
    """How to write in YAML what was probably meant."""
    if kind == "string_type" and isinstance(value, int | float):
        return "; put it in quotes"
    if kind == "string_type" and isinstance(value, Mapping):
        return "; text that contains a colon and a space must be in quotes"
    if kind == "list_type" and isinstance(value, str):
        return "; write it in brackets, with commas: [one, two]"
    return ""


def _unknown_key(model: type[BaseModel], path: KeyPath) -> str:
    key = str(path[-1])
    if key in _ADVICE:
        return _ADVICE[key]
    if key in _REGISTERED:
        return f'"{key}" is registered at the provider, not written here; see: portal key show'
    holder = model_at(model, path[:-1])
    known = list(holder.model_fields) if holder else []
    if "providers" in known and len(path) == 1:
        inner = model_at(model, ("providers", "any"))
        if inner and key in inner.model_fields:
            return f'"{key}" belongs inside each of providers, not beside it'
    owner = _owner(model, path[:-1], key)
    if owner:
        return f'"{key}" belongs in {owner}'
    quoted = f' "{key}"' if _misspelt(key, known) else ""
    return f"unknown key{quoted}{_inside(model, path)}{nearest(key, sorted(known))}"


def _owner(model: type[BaseModel], path: KeyPath, key: str) -> str:
    """The only mapping below `path` that has this key, as text; empty when there is none, or several."""
    for above, where in ((path, ""), ((*path, "providers", "any"), ", inside each of providers")):
        holder = model_at(model, above)
        inner = {name: model_at(model, (*above, name)) for name in (holder.model_fields if holder else ())}
        owners = [name for name, one in inner.items() if one is not None and key in one.model_fields]
        if len(owners) == 1:
            return f"{_dotted(model, path)}.{owners[0]}{where}" if path else f"{owners[0]}{where}"
    return ""


def _inside(model: type[BaseModel], path: KeyPath) -> str:
    return f" in {_dotted(model, path[:-1])}" if len(path) > 1 else ""


def _missing_key(model: type[BaseModel], path: KeyPath) -> str:
    holder = model_at(model, path[:-1])
    field = holder.model_fields.get(str(path[-1])) if holder else None
    meaning = (
        f": {field.description[0].lower()}{field.description[1:]}" if field and field.description else ""
    )
    owner = f"{_dotted(model, path[:-1])} lacks the key" if len(path) > 1 else "this file lacks the key"
    return f'{owner} "{path[-1]}"{meaning}'.rstrip(".")


def model_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    """Return the model of the mapping at `path` below `model`; None when there is no such mapping.

    A field of type `tuple[Model, ...]` is one mapping, or a list of several.
    """
    annotation: Any = model
    for step in path:
        if get_origin(annotation) is tuple and isinstance(step, str):
            annotation = get_args(annotation)[0]
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            field = annotation.model_fields.get(str(step))
            annotation = _without_none(field.annotation) if field else None
        elif get_origin(annotation) is tuple:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (dict, list):
            annotation = _without_none(get_args(annotation)[-1])
        else:
            return None
    if get_origin(annotation) is tuple:
        annotation = get_args(annotation)[0]
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _without_none(annotation: Any) -> Any:
    some = [one for one in get_args(annotation) if one is not type(None)]
    if get_origin(annotation) is not Annotated and len(some) == 1:
        annotation = annotation if get_origin(annotation) in (dict, list) else some[0]
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _path(loc: tuple[str | int, ...]) -> KeyPath:
    return tuple(step for step in loc if step != "[key]")


def _dotted(model: type[BaseModel], path: KeyPath) -> str:
    """The keys that lead to a place, joined by dots; `<name>` for keys that the author of the file chose."""
    text = ""
    for depth, step in enumerate(path):
        if isinstance(step, int):
            text += f"[{step + 1}]"
            continue
        holder = model_at(model, path[:depth])
        word = step if holder is not None and step in holder.model_fields else "<name>"
        text += f".{word}" if text else word
    return text or "this file"


def _empty_paths(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    if value is None:
        yield path
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _empty_paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _empty_paths(inner, (*path, index))


def _reading_order(problem: Problem) -> tuple[int, int]:
    numbers = re.search(r":(\d+):(\d+)$", problem.place)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
