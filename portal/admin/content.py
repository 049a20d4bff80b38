"""The content of a tenant of the database: a tenant file whose secrets are sealed.

Three forms: *typed*, as an admin writes it; *stored*, with each secret as `sealed:` and what the vault made
of it; *shown*, with each secret as `sealed:` and the beginning of a hash. Who sees the shown form can keep a
secret, but neither read it nor take it to another tenant.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import unified_diff
from functools import cache, partial
from typing import Any, cast, get_args, get_origin

import yaml
from pydantic import BaseModel

from portal.config.secret_references import SEALED, is_reference
from portal.config.source_lines import lines_of, position_of
from portal.config.validation import model_at
from portal.config.yaml_document import MAX_BYTES, NULLS, KeyPath, parse_document
from portal.errors import ConfigurationError, Problem
from portal.secret import Secret
from portal.tenancy.schema.provider import ProviderFile
from portal.tenancy.schema.tenant import model_for

_SHOWN_CHARACTERS = 10
_MOST_COMPARISONS = 20_000_000
"""Of lines, in a difference: less than a second."""
_CONTEXT = 3
"""Lines of a difference before and after a change."""
_PLACE = re.compile(r"(?m)^@@ -([0-9]+)(.*?) \+([0-9]+)(.*?) @@$")
_SEALED_VALUE = re.compile(rf"{SEALED}[A-Za-z0-9_.-]+")
_SHOWN_VALUE = re.compile(rf"{SEALED}[0-9a-f]{{{_SHOWN_CHARACTERS}}}")
_LIKE_A_SECRET = re.compile(r"(?i)secret|password|private")


_ADDRESSES = ("issuer", "domain", "preset", "fields", "endpoints", "discovery", "tenant_ids", "tls")
"""Keys of a provider that decide where its client's secrets are sent."""
_CERTIFICATE = frozenset({"certificate", "private_key"})
"""Keys of what is also presented to the API."""
_ModelOf = Callable[[KeyPath], type[BaseModel] | None]
"""Returns the model of the mapping at a path, as `model_at`."""


@dataclass(frozen=True, slots=True)
class _SecretText:
    """A secret in a content: its keys, where its text begins and ends, and its place for messages."""

    path: KeyPath
    start: int
    end: int
    value: str
    place: str
    is_null: bool
    """Whether it stands for nothing, as `~` does."""


def typed_secret(text: str) -> str:
    """A secret as an admin typed it. Raises ValueError for a reference to the portal's host (THREATS A4)."""
    if is_reference(text):
        raise ValueError("cannot name a file or variable of the portal's host here; type the secret itself")
    return text


def stored(
    typed: str,
    name: str,
    *,
    before: str = "",
    seal: Callable[[str], str],
    resolve: Callable[[str], str] = typed_secret,
) -> str:
    """Return the stored form of a typed content.

    Parameters: name, of the tenant or file, for messages; before, the stored content whose secrets the typed
    one may keep; seal, returns the sealed form of a secret; resolve, returns the secret that a typed text
    stands for, raises ValueError with a sentence: the text itself, unless the operator imports a file.
    Raises: ConfigurationError for what is not YAML or too large, and for a secret that cannot be kept: it is
    not the one that `before` has at the same keys, or would be sent to another address.
    """
    typed = typed.removeprefix("\ufeff")
    _check_size(typed, name)
    kept = _by_use(_secrets(before, name)) if before else {}
    old = parse_document(before.encode(), name).root if before else {}
    new = parse_document(typed.encode(), name).root
    problems: list[Problem] = []

    def sealed(secret: _SecretText) -> str:
        if secret.is_null:
            problems.append(
                Problem(secret.place, "is empty; type the secret, or remove the key", secret.path)
            )
            return ""
        if not secret.value.startswith(SEALED):
            try:
                return SEALED + seal(resolve(secret.value))
            except ValueError as error:
                problems.append(Problem(secret.place, str(error), secret.path))
                return ""
        own = _kept(secret, kept)
        if own is None:
            problems.append(
                Problem(secret.place, "is a secret that is not stored here; type it again", secret.path)
            )
        elif not _has_old_recipients(old, own.path, new, secret.path):
            problems.append(
                Problem(secret.place, "would be sent to another address now; type it again", secret.path)
            )
        return own.value if own is not None else ""

    result = _replaced(typed, name, sealed)
    if problems:
        raise ConfigurationError(problems)
    _check_size(result, name)
    return result


def _by_use(secrets: Iterable[_SecretText]) -> dict[tuple[KeyPath, str], _SecretText]:
    """The stored secrets by what they are used for, and by both texts that may stand for them."""
    found: dict[tuple[KeyPath, str], _SecretText] = {}
    for secret in secrets:
        for text in (secret.value, _shown(secret.value)):
            found.setdefault((_credential(secret.path), text), secret)
    return found


def _kept(secret: _SecretText, kept: Mapping[tuple[KeyPath, str], _SecretText]) -> _SecretText | None:
    """The stored secret that a typed one names: used for the same.

    When a tenant with one provider gets a second one, the keys of the first are moved below `providers`, and
    its secrets with them.
    """
    own = kept.get((_credential(secret.path), secret.value))
    if own is None and secret.path[0] == "providers":
        own = kept.get((_credential(secret.path[2:]), secret.value))
    return own


def _credential(path: KeyPath) -> KeyPath:
    """What a secret is used for: one of two client secrets may be kept in the place of the other."""
    keys = [key for key in path if not isinstance(key, int)]
    return tuple(keys[:-1] if keys and keys[-1] == "value" else keys)


def _check_size(content: str, name: str) -> None:
    if len(content.encode()) > MAX_BYTES:
        raise ConfigurationError(
            [Problem(name, f"is larger than {MAX_BYTES // 1024} KB with sealed secrets")]
        )


def _has_old_recipients(
    old: Mapping[str, object], own: KeyPath, new: Mapping[str, object], path: KeyPath
) -> bool:
    """Whether a secret is sent nowhere new: whoever sees only its hash must not get it (THREATS A4)."""
    if _recipient(old, own) != _recipient(new, path):
        return False
    before = _presented_to(old) if path[-1] in _CERTIFICATE else {}
    after = _presented_to(new) if path[-1] in _CERTIFICATE else {}
    return all(before.get(name) == recipient for name, recipient in after.items())


def _recipient(root: Mapping[str, object], path: KeyPath) -> object:
    """What decides to which provider a secret is sent."""
    provider: object = root
    if path[0] == "providers":
        several = root.get("providers")
        provider = several.get(path[1]) if isinstance(several, Mapping) else None
    addresses = [provider.get(key) for key in _ADDRESSES] if isinstance(provider, Mapping) else []
    return [_as_shown_value(one) for one in addresses]


def _presented_to(root: Mapping[str, object]) -> dict[str, object]:
    """The APIs that see client certificates, by name: what decides where their calls go."""
    further = root.get("apis")
    named = {"": root.get("api"), **(further if isinstance(further, Mapping) else {})}
    return {
        name: [_as_shown_value(api.get(key)) for key in ("base_url", "tls")]
        for name, api in named.items()
        if isinstance(api, Mapping) and api.get("mtls") not in (None, False)
    }


def _as_shown_value(value: object) -> object:
    """A value, or a mapping such as `fields`, with its secrets as the shown form has them."""
    if isinstance(value, Mapping):
        return {key: _as_shown_value(one) for key, one in value.items()}
    if isinstance(value, str) and value.startswith(SEALED) and not _SHOWN_VALUE.fullmatch(value):
        return _shown(value)
    return value


def shown(content: str, name: str) -> str:
    """Return the shown form of a stored content."""
    return _replaced(content, name, lambda secret: _shown(secret.value))


def shown_secrets(content: str, name: str) -> dict[KeyPath, str]:
    """The secrets in a stored content as the shown form has them, by their keys."""
    return {secret.path: _shown(secret.value) for secret in _secrets(content, name)}


def sealed_secrets(content: str, name: str) -> list[str]:
    """The sealed secrets in a stored content, without `sealed:`."""
    return [secret.value.removeprefix(SEALED) for secret in _secrets(content, name)]


def is_readable(content: str, name: str) -> bool:
    """Whether the secrets of a stored content can be found: a later version may have written it."""
    try:
        _secrets(content, name)
    except ConfigurationError:
        return False
    return True


def shown_safely(content: str, name: str) -> str:
    """Return the shown form of a stored content, also of one that this version cannot read."""
    try:
        return shown(content, name)
    except ConfigurationError:
        return shown_unread(content)


def shown_unread(content: str) -> str:
    """Return the shown form of a content whose keys may have another meaning than in this version."""
    return _SEALED_VALUE.sub(lambda sealed: _shown(sealed[0]), content)


def as_shown(problems: Iterable[Problem], content: str) -> tuple[Problem, ...]:
    """Return problems of a stored content with their places in its shown form, whose lines are shorter."""
    lines = lines_of(content)
    return tuple(_as_shown(problem, lines) for problem in problems)


def _as_shown(problem: Problem, lines: Sequence[str]) -> Problem:
    position = position_of(problem)
    if position is None or not 0 < position[1] <= len(lines):
        return problem
    file, line, column = position
    before = lines[line - 1][: column - 1]
    shorter = sum(len(sealed[0]) - len(_shown(sealed[0])) for sealed in _SEALED_VALUE.finditer(before))
    return replace(problem, place=f"{file}:{line}:{column - shorter}")


def difference(name: str, before: str, after: str) -> str:
    """The changes between two stored contents, as a unified diff of their shown forms."""
    return text_difference(shown(before, name), shown(after, name))


def text_difference(before: str, after: str) -> str:
    """The changes between two shown contents, as a unified diff; empty when there are none.

    Lines that move are not searched for where that takes long: the time would be quadratic.
    """
    old, new = _lines(before), _lines(after)
    if old == new:
        return ""
    begin = _common(old, new)
    end = _common(old[begin:][::-1], new[begin:][::-1])
    removed, added = old[begin : len(old) - end], new[begin : len(new) - end]
    if _comparisons(removed, added) <= _MOST_COMPARISONS:
        above, below = old[max(0, begin - _CONTEXT) : begin], old[len(old) - end :][:_CONTEXT]
        one, other = above + removed + below, above + added + below
        diff = "\n".join(unified_diff(one, other, "live", "new", n=_CONTEXT, lineterm=""))
        return _moved(diff, begin - len(above))
    place = f"@@ -{begin + 1},{len(removed)} +{begin + 1},{len(added)} @@"
    changes = (*(f"-{line}" for line in removed), *(f"+{line}" for line in added))
    return "\n".join(["--- live", "+++ new", place, *changes])


def _lines(text: str) -> list[str]:
    """The lines of a text. Other characters that end a line stay in it, so that a change of one shows."""
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def _comparisons(old: Sequence[str], new: Sequence[str]) -> int:
    """How many comparisons `difflib` makes at most: in each step, each line with all that are the same."""
    same = Counter(new)
    return sum(1 + same[line] for line in old) * min(len(old), len(new))


def _moved(diff: str, lines: int) -> str:
    """A diff of parts that begin after some lines, with the places that they have in the whole."""
    return _PLACE.sub(
        lambda place: f"@@ -{int(place[1]) + lines}{place[2]} +{int(place[3]) + lines}{place[4]} @@", diff
    )


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many lines at the beginning are the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))


def _shown(sealed: str) -> str:
    return SEALED + hashlib.sha256(sealed.encode()).hexdigest()[:_SHOWN_CHARACTERS]


def _replaced(content: str, name: str, text_for: Callable[[_SecretText], str]) -> str:
    pieces: list[str] = []
    end = 0
    for secret in _secrets(content, name):
        line_break = "\n" if content[secret.start : secret.end].endswith("\n") else ""  # of a block scalar
        pieces += (content[end : secret.start], text_for(secret), line_break)
        end = secret.end
    return "".join([*pieces, content[end:]])


def _secrets(content: str, name: str) -> list[_SecretText]:
    """The secrets in a content, in order. Raises ConfigurationError for what is not YAML."""
    document = parse_document(content.encode(), name)  # refuses what would be expanded
    root = cast(yaml.Node, yaml.compose(content, Loader=yaml.CSafeLoader))
    model_of = cache(partial(model_at, model_for(document.root)))
    found = (
        _SecretText(
            path,
            node.start_mark.index,
            node.end_mark.index,
            node.value,
            document.place(path),
            is_null=not node.style and node.value in NULLS,
        )
        for path, node in _scalars(root)
        if _is_secret(model_of, path)
    )
    return sorted(found, key=lambda secret: secret.start)


def _scalars(node: yaml.Node, path: KeyPath = ()) -> Iterator[tuple[KeyPath, yaml.ScalarNode]]:
    if isinstance(node, yaml.ScalarNode):
        yield path, node
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _scalars(value, (*path, index))
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _scalars(value, (*path, key.value))


def _is_secret(model_of: _ModelOf, path: KeyPath) -> bool:
    """Whether the text at a path is a secret; a draft may have keys and forms that the schema does not."""
    is_unknown = False
    for depth, key in enumerate(path):
        holder = None if is_unknown or isinstance(key, int) else model_of(path[:depth])
        field = holder.model_fields.get(str(key)) if holder is not None else None
        if field is not None and _holds_secret(field.annotation):
            return not _is_beside_secret(model_of, path, depth + 1)
        is_unknown = is_unknown or (holder is not None and field is None)
        is_chosen = holder is None and isinstance(key, str) and model_of(path[: depth + 1]) is None
        if (is_unknown or is_chosen) and _LIKE_A_SECRET.search(str(key)):
            return True
    return False


def _is_beside_secret(model_of: _ModelOf, path: KeyPath, depth: int) -> bool:
    """Whether this is another key of a mapping with a secret, such as `expires_at`."""
    inner = [key for key in path[depth:] if isinstance(key, str)]
    holder = model_of(path[:depth])
    field = holder.model_fields.get(inner[0]) if holder is not None and len(inner) == 1 else None
    return field is not None and not _holds_secret(field.annotation)


def _holds_secret(annotation: Any) -> bool:
    """Whether a value of this type is a secret, or one or several mappings with one (`model_at`)."""
    if annotation is Secret:
        return True
    if get_origin(annotation) is tuple and issubclass(get_args(annotation)[0], BaseModel):
        return any(_holds_secret(field.annotation) for field in get_args(annotation)[0].model_fields.values())
    return any(map(_holds_secret, get_args(annotation)))


def names_secret(path: KeyPath) -> bool:
    """Whether a key of a provider has a secret."""
    return _is_secret(partial(model_at, ProviderFile), path)
