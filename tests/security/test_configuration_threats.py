"""THREATS T8: hostile tenant files are refused with line and column; other tenants are not affected."""

from __future__ import annotations

import itertools
import os
import time
import tracemalloc
from pathlib import Path

import pytest

from portal.cli import main as cli
from portal.config.yaml_document import MAX_PROBLEMS
from portal.errors import ConfigurationError
from portal.tenancy.loading import slug_of
from portal.tenancy.registry import Registry

GOOD = "name: Good\nissuer: https://good.example\nclient: {id: portal, auth: none}\n"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in itertools.pairwise("abcdefghi")
)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "python object": (
        b"name: !!python/object/apply:os.system ['touch pwned']\n",
        "evil.yaml:1:7: a tag (!) is not allowed; leave it out, or quote the value",
    ),
    "python name": (
        b"name: Evil\nclient: !!python/name:os.system\n",
        "evil.yaml:2:9: a tag (!) is not allowed; leave it out, or quote the value",
    ),
    "own tag by directive": (
        b"%TAG ! tag:yaml.org,2002:python/\n---\nname: !object:os.system x\n",
        "evil.yaml:3:7: a tag (!) is not allowed; leave it out, or quote the value",
    ),
    "anchors bomb": (
        BOMB.encode(),
        "evil.yaml:1:4: an anchor (&) is not allowed; leave it out, or quote the value",
    ),
    "merge key": (
        b"name: Evil\nbase: &b {x: 1}\nclient:\n  <<: *b\n",
        "evil.yaml:4:7: an alias (*) is not allowed; write the value again, or quote it",
    ),
    "duplicate key": (
        GOOD.encode() + b"name: Other\n",
        "evil.yaml:4:1: this key occurs twice; the first is on line 1",
    ),
    "duplicate key inside": (
        b"name: Evil\nclient:\n  id: a\n  secret: x\n  id: b\n",
        "evil.yaml:5:3: this key occurs twice; the first is on line 3",
    ),
    "tabs": (b"client:\n\tid: a\n", "evil.yaml:2:1: a tab is used for indentation; use spaces"),
    "not UTF-8": (
        b"name: Evil \xff\xfe\n",
        "evil.yaml:1:12: byte 0xff is not UTF-8; save the file as UTF-8",
    ),
    "UTF-16": (
        GOOD.encode("utf-16"),
        "evil.yaml:1:1: byte 0xff is not UTF-8; save the file as UTF-8",
    ),
    "NUL": (b"name: Evil\x00\n", "evil.yaml:1:11: control character U+0000 is not allowed"),
    "terminal codes": (b"name: \x1b[2J\n", "evil.yaml:1:7: control character U+001B is not allowed"),
    "second document": (
        GOOD.encode() + b"---\nname: Other\n",
        "evil.yaml:4:1: a second document begins here; a file must contain only one",
    ),
    "deep lists": (b"name: " + b"[" * 200_000, "evil.yaml:1:26: the value is nested deeper than 20 levels"),
    "deep mappings": (b"{a: " * 60_000, "evil.yaml:1:81: the value is nested deeper than 20 levels"),
    "deep block": (b"- " * 100_000, "evil.yaml:1:41: the value is nested deeper than 20 levels"),
    "mapping as key": (b"? {a: b}\n: c\n", "evil.yaml:1:3: a key must be text"),
    "no mapping": (
        b"- a\n- b\n",
        'evil.yaml:1:1: expected a mapping (lines of "key: value"), found a list',
    ),
}


def load(folder: Path, content: bytes, name: str = "evil.yaml") -> tuple[Registry, list[str]]:
    """Load a good tenant and a hostile file; return the registry and the problems of the hostile file."""
    (folder / "good.yaml").write_text(GOOD)
    (folder / name).write_bytes(content)
    registry = Registry(folder, environ={})
    registry.load()
    error = registry.problems.get(name)
    return registry, [str(one).replace(f"{folder}/", "") for one in error.problems] if error else []


@pytest.mark.parametrize("kind", HOSTILE)
def test_T8_a_hostile_file_is_refused_with_line_and_column_and_other_tenants_stay_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    content, problem = HOSTILE[kind]
    began = time.process_time()
    registry, found = load(tmp_path, content)
    assert time.process_time() - began < 1.0
    assert problem in found
    assert [tenant.slug for tenant in registry.all()] == ["good"]
    assert sorted(os.listdir(tmp_path)) == ["evil.yaml", "good.yaml"]


def test_T8_a_file_of_50_megabytes_is_refused_without_being_read(tmp_path: Path) -> None:
    with (tmp_path / "evil.yaml").open("wb") as file:
        file.write(GOOD.encode())
        file.truncate(50 * 1024 * 1024)
    (tmp_path / "good.yaml").write_text(GOOD)
    registry = Registry(tmp_path, environ={})
    tracemalloc.start()
    try:
        registry.load()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 1024 * 1024
    assert str(registry.problems["evil.yaml"]) == f"{tmp_path}/evil.yaml: is larger than 256 KB"
    assert [tenant.slug for tenant in registry.all()] == ["good"]


@pytest.mark.parametrize(
    ("content", "seconds"),
    [
        (b"".join(b"k%d: 1\n" % number for number in range(24_000)), 0.9),
        (b"".join(b"k%d:\n" % number for number in range(26_000)), 0.9),
        (b"a: 1\n" * 50_000, 0.5),
        (b"a:\n" + b"\tb\n" * 80_000, 0.5),
        (b"name: " + b"x" * 250_000, 0.5),
        (GOOD.encode() + b"hosts: [" + b"-," * 100_000 + b"]\n", 2.0),
    ],
    ids=["unknown keys", "empty keys", "one key", "tabs", "long text", "long list"],
)
def test_T8_the_largest_allowed_file_is_checked_quickly_with_few_problems(
    tmp_path: Path, content: bytes, seconds: float
) -> None:
    began = time.process_time()
    registry, found = load(tmp_path, content)
    assert time.process_time() - began < seconds
    assert 0 < len(found) <= MAX_PROBLEMS
    assert len("\n".join(found)) < 10_000
    assert [tenant.slug for tenant in registry.all()] == ["good"]


@pytest.mark.parametrize(
    "name", ["..", "..%2fx", "a\\b", ".hidden", "A", "a b", "ä", "a" * 64, "-x", "x\n", ""]
)
def test_T8_a_name_that_could_traverse_paths_is_not_a_slug(name: str) -> None:
    with pytest.raises(ConfigurationError):
        slug_of(Path("tenants") / f"{name}.yaml")


@pytest.mark.parametrize(
    "name", ["..x.yaml", "x y.yaml", "X.yaml", "x%2f..%2fy.yaml", "x\\y.yaml", "x\n.yaml"]
)
def test_T8_a_file_without_a_valid_slug_name_is_not_a_tenant(tmp_path: Path, name: str) -> None:
    registry, _ = load(tmp_path, GOOD.encode(), name)
    assert [tenant.slug for tenant in registry.all()] == ["good"]


@pytest.mark.parametrize("slug", ["../x", "..", "../../etc/x", "/tmp/x", "a/../../x", "x\0"])
def test_T8_no_slug_writes_outside_the_tenants_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slug: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert cli.main(["tenant", "new", "--", slug]) == 2
    assert [path.name for path in tmp_path.rglob("*")] == ["here"]


@pytest.mark.parametrize("slug", ["../x", "..", "x/../good", "good/", "", "good\0", "GOOD", "good.yaml"])
def test_T8_no_malformed_slug_finds_a_tenant(tmp_path: Path, slug: str) -> None:
    registry, _ = load(tmp_path, GOOD.encode(), "other.yaml")
    assert registry.get(slug) is None


def test_T8_a_pipe_a_folder_and_a_device_do_not_block_the_portal(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "device.yaml").symlink_to("/dev/zero")
    registry, _ = load(tmp_path, b"name: [", "evil.yaml")
    assert [tenant.slug for tenant in registry.all()] == ["good"]
    for name in ("pipe.yaml", "folder.yaml", "device.yaml"):
        assert str(registry.problems[name]).endswith(": is not a regular file")


@pytest.mark.parametrize("kind", HOSTILE)
def test_T8_a_live_tenant_whose_file_turns_hostile_keeps_its_last_good_revision(
    tmp_path: Path, kind: str
) -> None:
    registry, _ = load(tmp_path, GOOD.encode())
    before = registry.get("evil")
    assert before is not None
    (tmp_path / "evil.yaml").write_bytes(HOSTILE[kind][0])
    registry.load()
    assert registry.get("evil") is before
    assert list(registry.problems) == ["evil.yaml"]
