"""Finds and reads the files of front ends, in threads: a slow disk must not hold the event loop.

A file is looked up at every request, so a change is seen at once. The contents of small files stay in memory
as long as inode, size and times are the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from portal.bounded_cache import ByteBoundedCache
from portal.errors import PortalError
from portal.web.compression import GZIP, LEAST_COMPRESSED, gzip_compressed
from portal.web.front_ends.conditions import IDENTITY
from portal.web.front_ends.media_types import MediaType, media_type

T = TypeVar("T")

CODINGS = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}
"""Content codings, the preferred one first, and the endings of files that are compressed beforehand."""
_SMALL = 256 * 1024
"""Bytes of a file that is kept in memory, and is compressed when the folder has no compressed one."""
_CACHE_BYTES = 32 * 1024 * 1024
_SAME_TIME = 2_000_000_000
"""Nanoseconds that a compressed file may be older than its original: copying a folder sets times anew."""
_MOST_THREADS = 16
_MOST_AT_ONCE = 4
"""Threads that one folder may use: a folder on a disk that hangs must not stop the others."""
_SECONDS = 10.0
_ATTEMPTS = 5
_LOOK_UP = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_READ = _LOOK_UP | os.O_NOFOLLOW
_IS_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.ENXIO)


class FilesUnavailable(PortalError):
    """The disk with the files does not respond in time."""

    status = 503
    code = "files_unavailable"
    title = "This page is temporarily unavailable"
    advice = "You are not signed out. Try again in a few seconds."

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, retry_after=5)


class _Changed(Exception):
    """A file changed between two looks at it."""


class Version(NamedTuple):
    """Tells one content of a file from another. The times alone do not: builds can set them to a constant."""

    device: int
    inode: int
    size: int
    changed: int
    modified: int
    """Nanoseconds; `changed` is set by the kernel."""


class _Located(NamedTuple):
    path: str
    version: Version


class _Wanted(NamedTuple):
    """The representation of a file to send."""

    folder: Path
    path: str
    version: Version
    kind: MediaType
    coding: str
    compress: bool = False
    """Whether the file is yet to be compressed."""


class _Content(NamedTuple):
    data: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A representation of a file that can be sent."""

    folder: Path
    path: str
    """The real path."""
    version: Version
    media_type: str
    coding: str
    """The content coding; empty for none."""
    size: int
    etag: str
    """A strong entity tag (RFC 9110 8.8.3)."""
    varies: bool
    """Whether Accept-Encoding decides which representation is sent."""
    content: bytes | None
    """None for a large file, which `open` reads."""


class OpenFile:
    """A large file that is read piece by piece. The caller should close it."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self.folder = folder
        self._descriptor: int | None = descriptor

    def read(self, offset: int, size: int) -> bytes:
        """Read `size` bytes at an offset, in a thread. Raises: OSError, FilesUnavailable."""
        data = b"" if self._descriptor is None else os.pread(self._descriptor, size, offset)
        if len(data) < size:
            raise FilesUnavailable("the file has become shorter")
        return data

    def close(self) -> None:
        """Close the file. Closing twice is allowed."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    __del__ = close
    """A request may end while a thread opens its file."""


class FileStore:
    """The files of all front ends of this process."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="front-end")
        self._slots: dict[Path, asyncio.Semaphore] = {}
        self._cache: ByteBoundedCache[tuple[str, Version, bool], _Content] = ByteBoundedCache(_CACHE_BYTES)
        self._lock = threading.Lock()

    async def find(self, folder: Path, relative: str, codings: Sequence[str]) -> FoundFile | None:
        """Return a file below a folder; None when there is none, or it is not a regular file.

        Parameters: relative, from `file_path`; codings, those of `CODINGS` that the client accepts, the
        preferred ones first.
        Raises: FilesUnavailable.
        """

        def found() -> FoundFile | None:
            for _ in range(_ATTEMPTS):
                with contextlib.suppress(_Changed):
                    return self._find(folder, relative, codings)
            raise FilesUnavailable("the file changes all the time")

        return await self._in_thread(folder, found)

    async def open(self, found: FoundFile) -> OpenFile:
        """Open a large file. Raises: FilesUnavailable, also when it changed since it was found."""

        def opened() -> OpenFile:
            descriptor = os.open(found.path, _READ)
            file = OpenFile(found.folder, descriptor)
            if _version(os.fstat(descriptor)) != found.version:
                raise FilesUnavailable("the file changed while it was opened")
            return file

        try:
            return await self._in_thread(found.folder, opened)
        except OSError as error:
            raise FilesUnavailable(f"the file cannot be opened: {error.strerror}") from error

    async def read(self, file: OpenFile, offset: int, size: int) -> bytes:
        """Read `size` bytes of an open file. Raises: FilesUnavailable."""
        try:
            return await self._in_thread(file.folder, lambda: file.read(offset, size))
        except OSError as error:
            raise FilesUnavailable(f"the file cannot be read: {error.strerror}") from error

    async def has_index(self, folder: Path, index: str) -> bool:
        """Whether a folder has its page. Raises: FilesUnavailable."""
        return await self._in_thread(folder, lambda: _locate(os.path.realpath(folder), index) is not None)

    def close(self) -> None:
        """End the threads when they have nothing to do."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, folder: Path, work: Callable[[], T]) -> T:
        slots = self._slots.setdefault(folder, asyncio.Semaphore(_MOST_AT_ONCE))
        try:
            async with asyncio.timeout(_SECONDS):
                await slots.acquire()
                running = asyncio.get_running_loop().run_in_executor(self._threads, work)
                running.add_done_callback(lambda done: _release(slots, done))
                return await asyncio.shield(running)
        except TimeoutError:
            raise FilesUnavailable(f"the disk did not respond within {_SECONDS:g} s") from None

    # --- in a thread

    def _find(self, folder: Path, relative: str, codings: Sequence[str]) -> FoundFile | None:
        root = os.path.realpath(folder)
        original = _locate(root, relative)
        if original is None:
            return None
        kind = media_type(relative)
        for coding in codings if kind.compressible else ():
            beside = _locate(root, relative + CODINGS[coding])
            if beside is not None and beside.version.modified + _SAME_TIME >= original.version.modified:
                return self._represented(_Wanted(folder, *beside, kind, coding))
            if coding == GZIP and LEAST_COMPRESSED <= original.version.size <= _SMALL:
                return self._represented(_Wanted(folder, *original, kind, coding, compress=True))
        return self._represented(_Wanted(folder, *original, kind, IDENTITY))

    def _represented(self, wanted: _Wanted) -> FoundFile | None:
        folder, path, version, kind, coding, _ = wanted
        if version.size > _SMALL:
            etag = _etag(f"{version}".encode())
            return FoundFile(
                folder, path, version, kind.value, coding, version.size, etag, kind.compressible, None
            )
        content = self._content(wanted)
        if content is None:
            return None
        size = len(content.data)
        return FoundFile(
            folder, path, version, kind.value, coding, size, content.etag, kind.compressible, content.data
        )

    def _content(self, wanted: _Wanted) -> _Content | None:
        key = (wanted.path, wanted.version, wanted.compress)
        with self._lock:
            known = self._cache.get(key)
        if known is not None:
            return known
        data = _read(wanted.path, wanted.version)
        if data is None:
            return None
        if wanted.compress:
            data = gzip_compressed(data)
        content = _Content(data, _etag(data))
        with self._lock:
            self._cache.put(key, content, size=len(data), owner=wanted.folder)
        return content


def _release(slots: asyncio.Semaphore, done: asyncio.Future[T]) -> None:
    slots.release()
    if not done.cancelled():
        done.exception()  # nobody may be waiting for it any more


def _locate(root: str, relative: str) -> _Located | None:
    """Return the real path of a regular file; None when there is none, or it is outside the folder.

    Everything is decided from the open file: what its path leads to may change at any time. Who opens the
    path again compares the version.
    Parameters: root, the real path of the folder.
    Raises: FilesUnavailable.
    """
    path = os.path.join(root, relative)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # to open a device may have effects
            return None
    except (OSError, ValueError):
        return None
    try:
        descriptor = os.open(path, _LOOK_UP)
    except OSError as error:
        if error.errno in _IS_GONE:
            return None
        raise FilesUnavailable(f"the file cannot be opened: {error.strerror}") from error
    try:
        found, real = os.fstat(descriptor), _path_of(descriptor)
    finally:
        os.close(descriptor)
    inside = real.startswith(root.rstrip("/") + "/") and stat.S_ISREG(found.st_mode)
    return _Located(real, _version(found)) if inside else None


def _path_of(descriptor: int) -> str:
    """Where an open file is now, without links. Raises: FilesUnavailable."""
    try:
        if sys.platform == "darwin":
            return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError as error:
        raise FilesUnavailable(f"the place of a file is unknown: {error.strerror}") from error


def _version(found: os.stat_result) -> Version:
    return Version(found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns, found.st_mtime_ns)


def _read(path: str, version: Version) -> bytes | None:
    """Return the content of a small file; None when it is gone. Raises: _Changed, FilesUnavailable."""
    try:
        with os.fdopen(os.open(path, _READ), "rb") as file:
            data = file.read(_SMALL + 1)
            current = _version(os.fstat(file.fileno()))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FilesUnavailable(f"the file cannot be read: {error.strerror}") from error
    if current != version or len(data) != version.size:
        raise _Changed
    return data


def _etag(content: bytes) -> str:
    return f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
