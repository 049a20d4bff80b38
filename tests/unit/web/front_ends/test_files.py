"""Files of front ends: slow disks, files that change, and memory."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portal.web.front_ends import files
from portal.web.front_ends.files import FileStore, FilesUnavailable
from tests.kit.front_ends import LARGE, SHELL, front_end_folder


@pytest.fixture
def released() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.gen_test
async def test_D5_a_folder_whose_disk_hangs_delays_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    slow, fast = front_end_folder(tmp_path / "slow"), front_end_folder(tmp_path / "fast")
    locate = files._locate

    def hanging(root: str, relative: str) -> object:
        if root == str(slow):
            released.wait(20)
        return locate(root, relative)

    monkeypatch.setattr(files, "_locate", hanging)
    monkeypatch.setattr(files, "_SECONDS", 0.3)
    store = FileStore()
    waiting = [asyncio.ensure_future(store.find(slow, "index.html", ())) for _ in range(40)]
    await asyncio.sleep(0)
    for _ in range(3):
        found = await store.find(fast, "index.html", ())
        assert found is not None
        assert found.content == SHELL.encode()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(result) for result in results} == {FilesUnavailable}
    released.set()
    assert await _recovered(store, slow)
    store.close()


async def _recovered(store: FileStore, folder: Path) -> bool:
    for _ in range(50):
        try:
            return await store.find(folder, "index.html", ()) is not None
        except FilesUnavailable:
            await asyncio.sleep(0.05)
    return False


@pytest.mark.gen_test
async def test_a_content_stays_in_memory_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, store, opened = front_end_folder(tmp_path), FileStore(), 0
    read = files._read

    def counted(path: str, version: files.Version) -> bytes | None:
        nonlocal opened
        opened += 1
        return read(path, version)

    monkeypatch.setattr(files, "_read", counted)
    for _ in range(3):
        assert await store.find(folder, "index.html", ("br", "gzip")) is not None
    assert opened == 1
    (folder / "index.html").write_text("new")
    found = await store.find(folder, "index.html", ())
    assert found is not None
    assert (found.content, opened) == (b"new", 2)
    store.close()


@pytest.mark.gen_test
async def test_a_large_file_that_was_replaced_is_not_read_under_the_old_length(tmp_path: Path) -> None:
    folder, store = front_end_folder(tmp_path), FileStore()
    found = await store.find(folder, "large.bin", ("gzip",))
    assert found is not None
    assert (found.content, found.size, found.coding) == (None, len(LARGE), "")
    os.replace(folder / "plain.js", folder / "large.bin")
    with pytest.raises(FilesUnavailable):
        await store.open(found)
    store.close()


def is_open(path: str) -> bool:
    return any(os.path.realpath(entry) == path for entry in Path("/proc/self/fd").iterdir())


@pytest.mark.gen_test
async def test_an_open_file_is_closed_when_nobody_uses_it_any_more(tmp_path: Path) -> None:
    folder, store = front_end_folder(tmp_path), FileStore()
    found = await store.find(folder, "large.bin", ())
    assert found is not None
    file = await store.open(found)
    assert is_open(found.path)
    assert await store.read(file, 256, 3) == b"\0\1\2"
    with pytest.raises(FilesUnavailable):
        await store.read(file, len(LARGE) - 1, 2)
    file.close()
    file.close()
    await store.open(found)
    await asyncio.sleep(0.1)  # the thread still has it
    gc.collect()
    assert not is_open(found.path)
    store.close()


@pytest.mark.parametrize("size", [40, 300_000])
@pytest.mark.gen_test
async def test_F1_a_folder_that_becomes_a_link_during_a_look_up_leads_to_no_file_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """At every system call of the look-up, the folder is replaced by a link or the link by the folder."""
    outside, root = tmp_path / "outside", tmp_path / "dist"
    for folder, content in ((outside, "S"), (root / "d", "A")):
        folder.mkdir(parents=True)
        (folder / "x.bin").write_text(content * size)
    (root / "l").symlink_to(outside)
    store = FileStore()

    def exchanging(call: Callable[..., object], turns: set[int]) -> Callable[..., object]:
        def exchanged(*args: object, **options: object) -> object:
            about = args[0]
            below = isinstance(about, int) or str(about).startswith((f"{root}/d", "/proc/self"))
            if below and next(calls) in turns:
                for old, new in (("d", "t"), ("l", "d"), ("t", "l")):
                    os.rename(root / old, root / new)
            return call(*args, **options)

        return exchanged

    names = ("stat", "lstat", "open", "fstat", "readlink")
    originals = {name: getattr(os, name) for name in names}
    served = 0
    for turns in itertools.chain.from_iterable(itertools.combinations(range(8), many) for many in range(4)):
        calls = itertools.count()
        with monkeypatch.context() as patch:
            for name in names:
                patch.setattr(os, name, exchanging(originals[name], set(turns)))
            data = await _first_byte(store, root)
        assert data in (b"", b"A"), turns
        served += data == b"A"
        if (root / "d").is_symlink():
            for old, new in (("d", "t"), ("l", "d"), ("t", "l")):
                os.rename(root / old, root / new)
    assert served > 1
    store.close()


async def _first_byte(store: FileStore, root: Path) -> bytes:
    try:
        found = await store.find(root, "d/x.bin", ())
        if found is None:
            return b""
        if found.content is not None:
            return found.content[:1]
        file = await store.open(found)
        data = await store.read(file, 0, 1)
        file.close()
        return data
    except FilesUnavailable:
        return b""
