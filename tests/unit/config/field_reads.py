"""Finds, in the source text, which fields of which classes the portal reads.

An attribute counts as read from a class where the name before the dot is known to hold one: an argument, an
attribute or a function that is annotated with the class, or a variable that is made of one of these. So
`asyncio.timeout` is not the `timeout` of an API. Names of attributes, functions and annotated constants count
in every module, those of arguments and variables in their own.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_ROUNDS = 3
"""How often names are followed: `provider = tenant.default_provider`, then what is made of `provider`."""
_OF_MAPPINGS = frozenset({"get", "values", "items"})

Field = tuple[str, str]
"""The name of a class, and of one of its fields."""


@dataclass
class _Names:
    """The names that hold objects of the classes: in every module, and in this one."""

    everywhere: dict[str, set[str]] = field(default_factory=dict)
    here: dict[str, set[str]] = field(default_factory=dict)

    def classes(self, name: str) -> set[str]:
        return self.everywhere.get(name, set()) | self.here.get(name, set())

    def add(self, target: ast.expr, classes: set[str]) -> None:
        if isinstance(target, ast.Tuple):
            for one in target.elts:
                self.add(one, classes)
        names = self.here if isinstance(target, ast.Name) else self.everywhere
        name = _last_name(target)
        if name and classes:
            names.setdefault(name, set()).update(classes)


class _Module:
    """One module: its syntax, and the names that it knows."""

    def __init__(self, path: Path, everywhere: dict[str, set[str]]) -> None:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        self.names = _Names(everywhere)
        self.nodes = list(ast.walk(tree))
        bodies = [tree.body, *(node.body for node in self.nodes if isinstance(node, ast.ClassDef))]
        self.visible = {id(one) for body in bodies for one in body}
        """What stands in the module itself or in a class: its names count in every module."""


def fields_read(root: Path, classes: Iterable[str]) -> dict[Path, set[Field]]:
    """The fields of the classes that each module below `root` reads."""
    classes = frozenset(classes)
    everywhere: dict[str, set[str]] = {}
    modules = [(path, _Module(path, everywhere)) for path in sorted(root.rglob("*.py"))]
    for _ in range(_ROUNDS):
        for _, module in modules:
            _learn(module, classes)
    return {path: set(_reads(module, classes)) for path, module in modules}


def _learn(module: _Module, classes: frozenset[str]) -> None:
    names = module.names
    for node in module.nodes:
        if isinstance(node, ast.arg):
            names.add(ast.Name(node.arg), _annotated(node.annotation, classes))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(_everywhere(node.name), _annotated(node.returns, classes))
        elif isinstance(node, ast.AnnAssign):
            is_local = isinstance(node.target, ast.Name) and id(node) not in module.visible
            target = node.target if is_local else _everywhere(_last_name(node.target))
            names.add(target, _annotated(node.annotation, classes))
        elif isinstance(node, ast.Assign):
            for one in node.targets:
                names.add(one, _classes_of(node.value, names, classes))
        elif isinstance(node, ast.NamedExpr):
            names.add(node.target, _classes_of(node.value, names, classes))
        elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            names.add(node.target, _classes_of(node.iter, names, classes))


def _everywhere(name: str) -> ast.expr:
    """A name that counts in every module."""
    return ast.Attribute(ast.Name(""), name)


def _annotated(annotation: ast.expr | None, classes: frozenset[str]) -> set[str]:
    if annotation is None:
        return set()
    return {one.id for one in ast.walk(annotation) if isinstance(one, ast.Name)} & classes


def _classes_of(value: ast.expr, names: _Names, classes: frozenset[str]) -> set[str]:
    """The classes of which a value may be an object."""
    if isinstance(value, ast.IfExp):
        return _classes_of(value.body, names, classes) | _classes_of(value.orelse, names, classes)
    if isinstance(value, ast.BoolOp):
        return {one for part in value.values for one in _classes_of(part, names, classes)}
    name = _last_name(value)
    return {name} & classes | names.classes(name)


def _last_name(value: ast.expr) -> str:
    """The name that says what a value is: `api` of `tenant.api`, `providers` of `tenant.providers.get(…)`."""
    if isinstance(value, ast.Name):
        return value.id
    if isinstance(value, ast.Attribute):
        return value.attr
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        return _last_name(value.func.value if value.func.attr in _OF_MAPPINGS else value.func)
    if isinstance(value, ast.Call):
        return _last_name(value.func)
    if isinstance(value, ast.Subscript | ast.Await):
        return _last_name(value.value)
    return ""


def _reads(module: _Module, classes: frozenset[str]) -> Iterator[Field]:
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield from ((name, node.attr) for name in _classes_of(node.value, module.names, frozenset()))
        elif isinstance(node, ast.ClassDef) and node.name in classes:
            for one in ast.walk(node):
                if isinstance(one, ast.Attribute) and _last_name(one.value) == "self":
                    yield node.name, one.attr
