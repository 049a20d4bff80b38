"""Private attributes of libraries are used in one module per library, and still exist."""

from __future__ import annotations

import ast
import functools
import inspect
import socket
import sqlite3
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from threading import Thread

import aiosqlite
import pytest
import tornado.httpserver
from tornado.http1connection import HTTP1Connection
from tornado.iostream import IOStream

import portal

USED = {
    "portal.stores.sqlite.file": ("aiosqlite", {"_conn", "_execute", "_thread"}),
    "portal.web.server.tornado_private": (
        "tornado",
        {"_HTTPRequestContext", "_disconnect_on_finish", "_read_buffer_size", "_request_start_line"},
    ),
}
"""Module or package → library and the private attributes that it uses."""
PUBLIC = {"portal.ops.processes": {"_exit"}, "portal.ops.forking": {"_exit"}}
"""`os._exit` is documented despite its name."""
OWN_CLASS_MODULES = {"portal.keys.key_ring", "portal.secret"}
"""Modules in which an object accesses private attributes of another instance of its class."""


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def own_names(tree: ast.Module) -> set[str]:
    """Return names that the module's classes define, or assign to `self` and `cls`."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                names.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.Assign(targets=targets):
                names.update(target.id for target in targets if isinstance(target, ast.Name))
                names.update(slot for slot in _slots(targets, node.value))
    return names


def _slots(targets: list[ast.expr], value: ast.expr) -> Iterator[str]:
    if any(isinstance(target, ast.Name) and target.id == "__slots__" for target in targets):
        yield from ast.literal_eval(value)


def private_uses(source: str, *, of_own_class: bool = False) -> set[str]:
    """Return private names in a module from elsewhere: attributes, imports, and names for `getattr`.

    An attribute of anything other than `self` and `cls` counts even if a class of the module defines the
    name, unless `of_own_class`: it could belong to a library.
    """
    tree = ast.parse(source)
    own = own_names(tree)
    uses: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
                uses |= {name} - own
            case ast.Attribute(attr=name):
                uses |= {name} - own if of_own_class else {name}
            case ast.Import(names=names):
                uses.update(part for alias in names for part in alias.name.split("."))
            case ast.ImportFrom(module=module, names=names):
                uses.update(part for part in (module or "").split("."))
                uses.update(alias.name for alias in names)
            case ast.Call(
                func=ast.Name(id="getattr" | "setattr" | "delattr"), args=[_, ast.Constant(value=text), *_]
            ):
                uses.add(str(text))
    return {name for name in uses if private(name)}


@functools.cache
def portal_uses() -> frozenset[tuple[str, str]]:
    """Return the modules of the portal with the private names that each uses."""
    return frozenset(_portal_uses())


def _portal_uses() -> Iterator[tuple[str, str]]:
    folder = Path(portal.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        name = ".".join(("portal", *path.relative_to(folder).with_suffix("").parts))
        for use in sorted(private_uses(path.read_text("utf-8"), of_own_class=name in OWN_CLASS_MODULES)):
            yield name, use


def allowed(module: str, name: str) -> bool:
    return name in PUBLIC.get(module, ()) or any(
        name in names and f"{module}.".startswith(f"{home}.") for home, (_, names) in USED.items()
    )


def test_private_attributes_of_a_library_are_used_in_one_module() -> None:
    not_allowed = [f"{module}: {name}" for module, name in sorted(portal_uses()) if not allowed(module, name)]
    homes = ", ".join(f"{library} in {home}" for home, (library, _) in USED.items())
    assert not not_allowed, f"use public attributes, or the module for the library ({homes})"


def test_nothing_is_allowed_that_is_not_used() -> None:
    for home, (library, names) in USED.items():
        used = {name for module, name in portal_uses() if f"{module}.".startswith(f"{home}.")}
        assert names <= used, f"{home} does not use {', '.join(sorted(names - used))} of {library}"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("stream._state", {"_state"}),
        ("class A(Base):\n def f(self):\n  return self._base", {"_base"}),
        ("class A:\n def __init__(self, other):\n  self._x = other.stream._x", {"_x"}),
        ("from ssl import _create_stdlib_context", {"_create_stdlib_context"}),
        ("import joserfc._keys", {"_keys"}),
        ("from pymongo._csot import timeout", {"_csot"}),
        ("getattr(loop, '_selector')", {"_selector"}),
        (
            "class A:\n _b: int\n def f(self):\n  self._a = self._b\n  return self._a, self._f",
            {"_f"},
        ),
        ("class A:\n __slots__ = ('_a',)\n def f(self):\n  return self._a", set()),
        ("class A:\n @classmethod\n def _f(cls):\n  return cls._f", set()),
    ],
)
def test_each_use_of_a_private_name_is_found(source: str, found: set[str]) -> None:
    assert private_uses(source) == found


def test_listed_modules_may_access_private_attributes_of_other_instances_of_their_classes() -> None:
    source = "class A:\n def __init__(self, other):\n  self._x = other._x\n  self.y = other._z"
    assert private_uses(source) == {"_x", "_z"}
    assert private_uses(source, of_own_class=True) == {"_z"}


def moved(library: str, what: str) -> str:
    module = next(home for home, (name, _) in USED.items() if name == library)
    return f"{library} {version(library)} has changed {what}: see {module}"


def test_aiosqlite_has_the_private_attributes_that_the_portal_uses() -> None:
    connection = aiosqlite.Connection(lambda: sqlite3.connect(":memory:"), 64)
    thread = getattr(connection, "_thread", None)
    assert isinstance(thread, Thread), moved("aiosqlite", "Connection._thread")
    assert not thread.is_alive(), moved("aiosqlite", "when the thread of a connection starts")
    execute = getattr(aiosqlite.Connection, "_execute", None)
    assert inspect.iscoroutinefunction(execute), moved("aiosqlite", "Connection._execute")
    assert [one.kind.name for one in inspect.signature(execute).parameters.values()] == [
        "POSITIONAL_OR_KEYWORD",
        "POSITIONAL_OR_KEYWORD",
        "VAR_POSITIONAL",
        "VAR_KEYWORD",
    ], moved("aiosqlite", "what Connection._execute is called with")
    assert isinstance(vars(aiosqlite.Connection).get("_conn"), property), moved(
        "aiosqlite", "Connection._conn"
    )


@pytest.mark.gen_test
async def test_tornado_has_the_private_attributes_that_the_portal_uses() -> None:
    own_end, other_end = socket.socketpair()
    with other_end:
        stream = IOStream(own_end)
        context = getattr(tornado.httpserver, "_HTTPRequestContext", None)
        assert context is not None, moved("tornado", "httpserver._HTTPRequestContext")
        assert hasattr(context(stream, ("192.0.2.1", 1), "http"), "remote_ip"), moved("tornado", "remote_ip")
        connection = HTTP1Connection(stream, is_client=False)
        for name in ("_disconnect_on_finish", "_request_start_line"):
            assert hasattr(connection, name), moved("tornado", f"HTTP1Connection.{name}")
        assert hasattr(stream, "_read_buffer_size"), moved("tornado", "IOStream._read_buffer_size")
        stream.close()
