"""Reads a YAML file into plain values and records the position of each.

Configuration is read strictly: ambiguous YAML is refused with its line and column, and all problems of a file
are reported at once. No message quotes the file (see validation.py). Scalars follow the core schema of YAML
1.2: `no`, `on` and `1_000` are text, `0777` is a decimal number.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import yaml

from portal.config.yaml_mistakes import likely_mistake
from portal.errors import ConfigurationError, Problem

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_PROBLEMS = 25
MAX_VALUES = 5_000

KeyPath = tuple[str | int, ...]

_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_NOT_TEXT = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\u2029\u202f-\u2065\u206a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)
_BIDI_CONTROL = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Characters that show a text in another order than it has (THREATS A3, L8)."""
_TAB_INDENT = re.compile(r"^ *\t", re.MULTILINE)
_OTHER_SPACE = re.compile(
    r"^ *+(?:(?:- ++)*+[A-Za-z0-9_-]++:)?[\xa0\u1680\u2000-\u200b\u202f\u205f\u3000\ufeff]", re.MULTILINE
)
"""A space that YAML takes for a letter, where a plain one is meant."""
NULLS = frozenset({"", "~", "null", "Null", "NULL"})
"""Unquoted texts that stand for nothing."""
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,18}|[0-9]{1,18}(\.[0-9]{0,18})?)([eE][-+]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file; line and column count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: its values, and the position of each key and value."""

    name: str
    """The file as it was given, for messages."""
    root: Mapping[str, object]
    keys: Mapping[KeyPath, Position] = field(default_factory=dict)
    values: Mapping[KeyPath, Position] = field(default_factory=dict)
    digest: str = ""
    """SHA-256 of the file's bytes."""

    def place(self, path: KeyPath, *, key: bool = False) -> str:
        """Return `file:line:column` of the value at `path`, or of its key.

        For a missing value this is the position of the mapping to which it belongs.
        """
        nearest = (self.keys, self.values) if key else (self.values, self.keys)
        position = nearest[0].get(path) or nearest[1].get(path)
        while position is None and path:
            path = path[:-1]
            position = self.keys.get(path) or self.values.get(path)
        position = position or Position(1, 1)
        return f"{self.name}:{position.line}:{position.column}"


def read_document(path: Path, name: str | None = None) -> Document:
    """Read a YAML file of at most `MAX_BYTES` bytes.

    Parameters: path, of the file; name, for messages (default: `path` as given).
    Raises ConfigurationError when it cannot be read or used.
    """
    name = str(path) if name is None else name
    return parse_document(read_bytes(path, name=name, limit=MAX_BYTES), name)


def read_bytes(path: Path, *, name: str, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes, or raise ConfigurationError."""
    try:
        content = _read_regular(path, limit + 1)
    except FileNotFoundError:
        raise ConfigurationError([Problem(name, "there is no such file")]) from None
    except OSError as error:
        raise ConfigurationError([Problem(name, f"cannot be read: {error.strerror}")]) from None
    except ValueError:
        raise ConfigurationError([Problem(visible(name), "is not the name of a file")]) from None
    if content is None:
        raise ConfigurationError([Problem(name, "is not a regular file")])
    if len(content) > limit:
        raise ConfigurationError([Problem(name, f"is larger than {limit // 1024} KB")])
    return content


def parse_document(content: bytes, name: str) -> Document:
    """Parse the bytes of one YAML document whose root is a mapping.

    Raises ConfigurationError with every problem, each with line and column.
    """
    text = _decode(content, name)
    problems = _character_problems(text, name)
    if problems:
        raise ConfigurationError(problems)
    reader = _Reader(name)
    reader.read(text)
    if reader.problems:
        raise ConfigurationError(reader.problems)
    if not isinstance(reader.root, dict):
        found = "an empty file" if reader.root is None else describe(reader.root)
        where = reader.values.get((), Position(1, 1))
        message = f'expected a mapping (lines of "key: value"), found {found}'
        raise ConfigurationError([Problem(f"{name}:{where.line}:{where.column}", message)])
    digest = hashlib.sha256(content).hexdigest()
    return Document(name, reader.root, reader.keys, reader.values, digest)


def parse_inline(text: str, name: str) -> object:
    """Parse one YAML value that is not a file, such as the value of an environment variable.

    Parameters: text, the YAML; name, for messages. Raises ConfigurationError, reported at `name`.
    """
    reader = _Reader(name)
    if not _NOT_TEXT.search(text):
        reader.read(text)
        if not reader.problems:
            return reader.root
    raise ConfigurationError([Problem(name, "is not a YAML value on one line")])


def describe(value: object) -> str:
    """Name the kind of a value in words: `text`, `a number`, `a list` …"""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float):
        return "a number"
    return "a list" if isinstance(value, list) else "a mapping"


def visible(text: str, limit: int = 60) -> str:
    """Return `text` for a message: at most `limit` characters, with control characters escaped."""
    printable = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text[:limit])
    return printable if len(text) <= limit else printable + "…"


def _read_regular(path: Path, limit: int) -> bytes | None:
    """Return at most `limit` bytes of a file; None when it is a folder, pipe or device."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        content = bytearray()
        while len(content) < limit and (part := os.read(descriptor, limit - len(content))):
            content += part
        return bytes(content)
    finally:
        os.close(descriptor)


def _decode(content: bytes, name: str) -> str:
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        at = _position(before, len(before))
        message = f"byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise ConfigurationError([Problem(f"{name}:{at.line}:{at.column}", message)]) from None


def _position(text: str, index: int) -> Position:
    lines = _LINE_BREAK.split(text[:index])
    return Position(len(lines), len(lines[-1]) + 1)


def _character_problems(text: str, name: str) -> list[Problem]:
    problems = []
    for match in islice(_NOT_TEXT.finditer(text), MAX_PROBLEMS):
        at = _position(text, match.start())
        message = f"control character U+{ord(match.group()):04X} is not allowed"
        problems.append(Problem(f"{name}:{at.line}:{at.column}", message))
    for match in islice(_TAB_INDENT.finditer(text), MAX_PROBLEMS - len(problems)):
        at = _position(text, match.end() - 1)
        message = "a tab is used for indentation; use spaces"
        problems.append(Problem(f"{name}:{at.line}:{at.column}", message))
    for match in islice(_OTHER_SPACE.finditer(text), MAX_PROBLEMS - len(problems)):
        at = _position(text, match.end() - 1)
        message = (
            "a space from a web page or word processor stands here (such as a no-break space); "
            "replace it by a plain space"
        )
        problems.append(Problem(f"{name}:{at.line}:{at.column}", message))
    return problems


class _Stop(Exception):
    """Ends the parsing of a document that cannot be used."""


class _Reader:
    """Builds plain values from parser events, so that nothing is expanded before it is checked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root: object = None
        self.keys: dict[KeyPath, Position] = {}
        self.values: dict[KeyPath, Position] = {}
        self.problems: list[Problem] = []
        self._path: list[str | int] = []
        self._open: list[dict[str, object] | list[object]] = []
        self._key: str | None = None
        self._documents = 0

    def read(self, text: str) -> None:
        """Read one document; afterwards either `problems` is not empty or `root` is the value."""
        loader = yaml.CSafeLoader(text)
        try:
            while (event := loader.get_event()) is not None:
                self._take(event)
        except yaml.MarkedYAMLError as error:
            mistake = likely_mistake(text, error)
            self._problem(Position(mistake.line, mistake.column), mistake.message)
        except yaml.YAMLError as error:
            self.problems.append(Problem(self.name, f"this is not YAML: {type(error).__name__}"))
        except _Stop:
            return
        finally:
            loader.dispose()

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._refuse_extras(event)
            self._scalar(event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._refuse_extras(event)
            self._begin(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end()
        elif isinstance(event, yaml.AliasEvent):
            self._report(
                event,
                "an alias (*) is not allowed; write the value again, or quote it",
            )
            self._put(event, None)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._report(event, "a second document begins here; a file must contain only one")
                raise _Stop

    def _refuse_extras(self, event: yaml.NodeEvent) -> None:
        if isinstance(event, yaml.ScalarEvent) and _BIDI_CONTROL.search(event.value):
            self._report(event, "a character that changes the direction of text is not allowed")
        if event.anchor is not None:
            self._report(event, "an anchor (&) is not allowed; leave it out, or quote the value")
        tag = getattr(event, "tag", None)
        if tag is not None and tag != "!":
            self._report(event, "a tag (!) is not allowed; leave it out, or quote the value")

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        if len(self._open) >= MAX_DEPTH:
            self._report(event, f"the value is nested deeper than {MAX_DEPTH} levels")
            raise _Stop
        if self._expects_key():
            self._report(event, "a key must be text")
            raise _Stop
        made: dict[str, object] | list[object] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._put(event, made, opens=True)
        self._open.append(made)

    def _end(self) -> None:
        self._open.pop()
        if self._open:
            self._path.pop()
            self._key = None

    def _expects_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1], dict) and self._key is None

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if not self._expects_key():
            self._put(event, _resolve(event))
            return
        holder = self._open[-1]
        self._key = event.value
        path = (*self._path, self._key)
        if self._key in holder:
            first = self.keys[path].line
            self._report(event, f"this key occurs twice; the first is on line {first}")
        self.keys[path] = _start(event)

    def _put(self, event: yaml.Event, value: object, *, opens: bool = False) -> None:
        if not self._open:
            self.root = value
            self.values[()] = _start(event)
            return
        holder = self._open[-1]
        if isinstance(holder, list):
            self._path.append(len(holder))
            holder.append(value)
        elif self._key is None:
            self._key = ""
            return
        else:
            self._path.append(self._key)
            holder[self._key] = value
        self.values[tuple(self._path)] = _start(event)
        if len(self.values) > MAX_VALUES:
            self._report(event, f"the file has more than {MAX_VALUES} values")
            raise _Stop
        self._key = None
        if not opens:
            self._path.pop()

    def _report(self, event: yaml.Event, message: str) -> None:
        self._problem(_start(event), message)
        if len(self.problems) >= MAX_PROBLEMS:
            raise _Stop

    def _problem(self, at: Position, message: str) -> None:
        self.problems.append(Problem(f"{self.name}:{at.line}:{at.column}", message))


def _start(event: yaml.Event) -> Position:
    mark = event.start_mark
    return Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)


def _resolve(event: yaml.ScalarEvent) -> object:
    text: str = event.value
    if not event.implicit[0]:
        return text
    if text in NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
